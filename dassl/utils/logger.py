"""A copy of standard output in the run's log file."""

import os
import sys
import time
from typing import Any, TextIO

from dassl.files import mkdir_if_missing
from dassl.record import LOG_NAME


class Tee:
    """Standard output that also writes to a file."""

    def __init__(self, console: TextIO, file: TextIO) -> None:
        self.console, self.file = console, file

    def write(self, text: str) -> int:
        self.console.write(text)
        self.file.write(text)
        self.file.flush()
        return len(text)

    def flush(self) -> None:
        self.console.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["console"], name)  # isatty, encoding, fileno and the like


def setup_logger(output: str | None = None) -> None:
    """Write what is printed from now on to a file too.

    Args:
        output: a file that ends in .txt or .log, or a folder, which gets log.txt. A file that exists stays,
            and the new one has the time in its name. None changes nothing; a second call moves to the new
            file.
    """
    if output is None:
        return
    path = output if output.endswith((".txt", ".log")) else os.path.join(output, LOG_NAME)
    if os.path.exists(path):
        path += time.strftime("-%Y-%m-%d-%H-%M-%S")
    mkdir_if_missing(os.path.dirname(path))
    close_logger()
    sys.stdout = Tee(sys.stdout, open(path, "a", encoding="utf-8"))  # noqa: SIM115


def close_logger() -> None:
    """Take standard output back to where it was before `setup_logger`."""
    if isinstance(sys.stdout, Tee):
        sys.stdout.file.close()
        sys.stdout = sys.stdout.console
