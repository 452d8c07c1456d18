"""Stopping a run from outside: a scheduler's SIGTERM, or Ctrl-C, ends it where nothing is lost."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequested(BaseException):
    """The run was told to stop; not an Exception, so that no code that handles errors takes it for one.

    Args:
        signum: the signal.
        saved: what is on disk, such as "epoch [2/5] batch [7/20]"; empty where nothing had to be saved.
    """

    def __init__(self, signum: int, saved: str = "") -> None:
        self.signum, self.saved = signum, saved
        super().__init__(f"stopped by {signal.Signals(signum).name}{f' at {saved}' if saved else ''}")

    @property
    def exit_status(self) -> int:
        """128 + the signal's number, as shells and schedulers expect: 143 for SIGTERM, 130 for Ctrl-C."""
        return 128 + self.signum


class StopSignals:
    """Turns the signals into StopRequested: at once, or, while `held`, where the program next looks.

    A second signal is obeyed at once in any case. Whoever does not listen has Python's own handling.
    """

    def __init__(self) -> None:
        self._n_held = 0
        self._signum: int | None = None
        self._pid = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals in this block; does nothing outside the main thread, where Python allows no handlers."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._pid, self._signum = os.getpid(), None
        before = {signum: signal.signal(signum, self._receive) for signum in SIGNALS}
        try:
            yield
        finally:
            self._signum = None
            for signum, handler in before.items():
                signal.signal(signum, signal.SIG_DFL if handler is None else handler)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep a signal waiting in this block until the program looks."""
        self._n_held += 1
        try:
            yield
        finally:
            self._n_held -= 1

    @property
    def is_requested(self) -> bool:
        """Whether a signal waits."""
        return self._signum is not None

    def look(self, saved: str = "") -> None:
        """Raise StopRequested if a signal waits.

        Args:
            saved: see StopRequested.
        """
        if self._signum is not None:
            raise StopRequested(self._signum, saved)

    def _receive(self, signum: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return  # a forked loading process: the run that it works for decides
        is_at_once = self._n_held == 0 or self._signum is not None
        self._signum = signum  # also where it is raised: Python drops what is raised in a destructor, and the next look raises it again
        if is_at_once:
            raise StopRequested(signum)
        # Not print: the signal may have come in the middle of one.
        text = f"\n{signal.Signals(signum).name}: stopping after this step (once more: at once, from the last checkpoint)\n"
        with contextlib.suppress(OSError):
            os.write(2, text.encode())


STOP = StopSignals()
"""The one of this process; train.py listens, the training loop holds and looks."""
