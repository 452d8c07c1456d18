"""Stopping a run from outside: a scheduler's SIGTERM, or Ctrl-C, ends it where nothing is lost."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
PASSED_ON = getattr(signal, "SIGUSR1", None)
"""What a launcher sends when its shell got one of these: the run may have got it as well, so that it is never taken for a second one."""


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
        self._n_held = self._n_direct = 0
        self._is_releasing = False
        self._signum: int | None = None
        self._pid = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals in this block; does nothing outside the main thread, where Python allows no handlers."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._pid, self._signum, self._n_direct = os.getpid(), None, 0
        before = {signum: signal.signal(signum, self._receive) for signum in SIGNALS}
        if PASSED_ON is not None:
            before[PASSED_ON] = signal.signal(PASSED_ON, self._receive_passed_on)
        try:
            yield
        finally:
            if PASSED_ON is not None and self._signum is not None:
                before[PASSED_ON] = _pass_over  # it may be on its way still, while the end of the run is told
            self._signum = None
            for signum, handler in before.items():
                signal.signal(signum, signal.SIG_DFL if handler is None else handler)

    @contextlib.contextmanager
    def held(self, goes_on: bool = False) -> Iterator[None]:
        """Keep a signal waiting in this block until the program looks.

        Args:
            goes_on: also behind this block, to the end of that of `releasing` around it, if there is one.
        """
        self._n_held += 1
        try:
            yield
        finally:
            if not (goes_on and self._is_releasing):
                self._n_held -= 1

    @contextlib.contextmanager
    def releasing(self) -> Iterator[None]:
        """End with this block all that was held in it, so that no moment lies between what is held in one function of it and in the next."""
        n_held, was_releasing = self._n_held, self._is_releasing
        self._is_releasing = True
        try:
            yield
        finally:
            self._n_held, self._is_releasing = n_held, was_releasing

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
        self._n_direct += 1
        self._request(signum, is_second=self._n_direct > 1)

    def _receive_passed_on(self, _signum: int, _frame: FrameType | None) -> None:
        if os.getpid() == self._pid:
            self._request(signal.SIGTERM, is_second=False)

    def _request(self, signum: int, is_second: bool) -> None:
        is_first = self._signum is None
        self._signum = signum if is_first or is_second else self._signum
        # `_signum` is set also where it is raised: Python drops what is raised in a destructor, and the next look raises it again.
        if is_second or (is_first and self._n_held == 0):
            raise StopRequested(signum)
        if is_first:  # not print: the signal may have come in the middle of one
            text = f"\n{signal.Signals(signum).name}: stopping after this step (once more: at once, from the last checkpoint)\n"
            with contextlib.suppress(OSError):
                os.write(2, text.encode())


def _pass_over(_signum: int, _frame: FrameType | None) -> None:
    """For a signal that has no more to say; unlike SIG_IGN, programs that are started from here do not inherit it."""


STOP = StopSignals()
"""The one of this process; train.py listens, the training loop holds and looks."""
