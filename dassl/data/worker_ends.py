"""Where the end of a loading process is told: where its pictures are asked for.

PyTorch raises it wherever the main thread is when the system reports it (in a SIGCHLD handler): in the writing of a checkpoint, in a destructor or in a
fork, where Python drops it and prints a traceback, or while the error before is being told. Here it waits until somebody asks that process for a batch.
"""

import re
import signal
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

PATIENCE = 5.0  # seconds; our choice: as long as PyTorch waits before it looks after a silent process itself


class WorkerEnds:
    """Stands between the system and PyTorch's handler, for the loading processes that it is told of."""

    def __init__(self) -> None:
        self._pids: set[int] = set()  # of all that were watched
        self._asked: set[int] = set()  # of those that are asked for a batch now
        self._noted: list[RuntimeError] = []
        self._watched: weakref.WeakSet[Any] = weakref.WeakSet()
        self._torch_handler: Callable[[int, FrameType | None], Any] | None = None

    def watch(self, batches: Any) -> None:
        """Take over for the processes of a PyTorch iteration; without processes, or outside the main thread, nothing is to be done."""
        pids = _pids_of(batches)
        if batches not in self._watched:  # its processes may have the numbers of others that ended before
            self._noted = [error for error in self._noted if _pid_in(error) not in pids]
            self._watched.add(batches)
        self._pids |= pids
        if not pids or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
            return
        handler = signal.getsignal(signal.SIGCHLD)
        if callable(handler) and self._torch_handler is None:  # once: a handler that came since may call ours
            self._torch_handler = handler
            signal.signal(signal.SIGCHLD, self._receive)

    def next_of(self, batches: Any) -> Any:
        """The next batch of an iteration.

        Raises:
            StopIteration: there is none.
            RuntimeError: a process that loads it has been killed; the message, PyTorch's, says which and how.
        """
        pids = _pids_of(batches)
        for error in self._noted:
            if _pid_in(error) in pids:
                raise error
        self._asked = pids
        try:
            return next(batches)
        except (ConnectionError, EOFError):  # a killed process's connections end before it does, which `_receive` is about to raise here
            time.sleep(PATIENCE)
            raise
        finally:
            self._asked = set()

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        errors = []
        while error := self._raised_by_torch(signum, frame):  # one of each iteration whose processes have failed
            errors.append(error)
        self._noted += [error for error in errors if _pid_in(error) in self._pids]
        for error in errors:
            if _pid_in(error) in self._asked or _pid_in(error) not in self._pids:
                self._asked = set()
                raise error

    def _raised_by_torch(self, signum: int, frame: FrameType | None) -> RuntimeError | None:
        assert self._torch_handler is not None, "this is called in its place alone"
        try:
            self._torch_handler(signum, frame)
        except RuntimeError as error:
            return error
        return None


def _pids_of(batches: Any) -> set[int]:
    return {worker.pid for worker in getattr(batches, "_workers", ())}


def _pid_in(error: RuntimeError) -> int:
    """The process that PyTorch's message names; 0 if it names none."""
    found = re.search(r"\(pid (\d+)\)", str(error))
    return int(found[1]) if found else 0


WORKER_ENDS = WorkerEnds()
"""The one of this process, as PyTorch's handler is."""
