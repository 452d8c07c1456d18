"""SIGTERM and Ctrl-C set a flag; the run looks at it once a step and ends cleanly."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_received: int | None = None


class Stopped(SystemExit):
    """The run was stopped by a signal; its exit status is 128 plus the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.name = signal.Signals(signum).name


@contextlib.contextmanager
def stop_signals() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into the flag that `raise_if_stopped` looks at.

    A second signal ends the block at once. The former handlers are restored. Outside the main thread, where
    Python allows no handlers, nothing is changed.
    """
    global _received
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _received = None
    former = {signum: signal.signal(signum, _receive) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except Exception as error:
        # A scheduler signals the loading processes too; PyTorch reports their end as an error of the run.
        if _received is not None:
            raise Stopped(_received) from error
        raise
    finally:
        _received = None
        for signum, handler in former.items():
            signal.signal(signum, handler)


def raise_if_stopped() -> None:
    if _received is not None:
        raise Stopped(_received)


def _receive(signum: int, frame: FrameType | None) -> None:
    global _received
    if _received is not None:
        raise Stopped(signum)
    _received = signum
    with contextlib.suppress(OSError, RuntimeError):  # the signal may have come while something is printed
        print("\nStopping after this step (the same signal again: at once)", file=sys.stderr, flush=True)
