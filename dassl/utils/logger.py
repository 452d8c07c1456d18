"""What is printed goes to the terminal and to a file."""

import contextlib
import os
import sys
import time
from typing import Any, TextIO

from .files import mkdir_if_missing


class Logger:
    """A text stream that writes to another one and to a file, at once and unbuffered on both.

    Args:
        fpath: the file; its folder is created. None: no file.
        console: the other stream; the present standard output by default.
    """

    def __init__(self, fpath: str | None = None, console: TextIO | None = None) -> None:
        self.console = sys.stdout if console is None else console
        self.fpath = fpath
        self.wanted: str | None = None  # the file that `setup_logger` was asked for
        self.file: TextIO | None = None
        if fpath is not None:
            mkdir_if_missing(os.path.dirname(fpath))
            self.file = open(fpath, "a", encoding="utf-8")  # noqa: SIM115, it stays open with the logger

    def write(self, text: str) -> int:
        """Write to both.

        Raises:
            OSError: the file cannot be written any more, as on a full disk; from then on there is the other stream alone.
        """
        self.console.write(text)
        if self.file is not None:
            try:
                self.file.write(text)
                self.file.flush()
            except OSError as error:
                self.close()
                raise OSError(error.errno, error.strerror, self.fpath) from error
        return len(text)

    def flush(self) -> None:
        """Flush both, the file down to the disk's cache."""
        self.console.flush()
        if self.file is not None:
            self.file.flush()

    def close(self) -> None:
        """Close the file; the other stream stays open."""
        if self.file is not None:
            with contextlib.suppress(OSError):  # what cannot be written has been told
                self.file.close()
            self.file = None

    def __getattr__(self, name: str) -> Any:
        # isatty, encoding, fileno and the like are the console's.
        if name == "console":
            raise AttributeError(name)
        return getattr(self.console, name)


def setup_logger(output: str | None = None) -> None:
    """Tee standard output into a file from now on.

    Args:
        output: a file that ends in .txt or .log, or a folder, which gets log.txt. A file that exists is kept, and the new
            one has the time in its name. None: nothing happens. Asking again for the same output changes nothing, and
            asking for another moves to that one.
    """
    if output is None:
        return
    wanted = os.path.abspath(output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt"))
    console = sys.stdout
    if isinstance(console, Logger):
        if console.wanted == wanted:
            return
        console.close()
        console = console.console
    fpath = wanted
    if os.path.exists(fpath):
        fpath = _free_name(wanted + time.strftime("-%Y-%m-%d-%H-%M-%S"))
    logger = Logger(fpath, console)
    logger.wanted = wanted
    sys.stdout = logger


def take_wanted_name() -> None:
    """Give the present log the name that another file had when it was begun, and has no more."""
    logger = sys.stdout
    if isinstance(logger, Logger) and logger.fpath and logger.wanted and not os.path.exists(logger.wanted):
        os.rename(logger.fpath, logger.wanted)
        logger.fpath = logger.wanted


def _free_name(path: str) -> str:
    candidate, count = path, 1
    while os.path.exists(candidate):
        count += 1
        candidate = f"{path}-{count}"
    return candidate
