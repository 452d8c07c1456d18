"""What every command line of the project does with an error."""

import os
import sys
from collections.abc import Callable

from .registry import UnknownNameError

MISTAKES = (ValueError, UnknownNameError, OSError, FloatingPointError, ModuleNotFoundError)
"""Errors that a user can correct; others are shown with their traceback."""


def run_command(command: Callable[[], int | None], debug: bool = False) -> int:
    """The exit status of `command`: its own, 2 after a mistake that the user can correct, 130 after Ctrl-C.

    Args:
        debug: raise the mistake with its traceback.
    """
    try:
        return command() or 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever reads the output, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MISTAKES as error:
        if debug:
            raise
        print(f"Error: {error}", file=sys.stderr)
        return 2
