"""A bound on how long waiting for a server takes in all."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, ask: Callable[[], T]) -> T:
    """What ``ask()`` gives or raises.

    A socket's own timeout bounds the wait for the next byte alone: a server that sends one now and then would be waited for without end.

    Args:
        seconds: the most that it may take.
        ask: what waits; it runs in a thread of its own, and is left to itself there when the time is over.

    Raises:
        TimeoutError: the time is over.
    """
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        except BaseException as error:  # told to who waits, whatever it is
            answers.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} seconds") from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]  # None only where `ask` gave it
