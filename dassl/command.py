"""What every command line of the project does with an error; imports nothing that may not be installed."""

import os
import sys
from collections.abc import Callable


class UnknownNameError(KeyError):
    """A name that nothing is registered under; the message lists the nearest and all known names."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would put the message in quotes


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
        hint = "; install what the project needs: pip install -r requirements.txt"
        is_missing = isinstance(error, ModuleNotFoundError) and error.name  # an error of ours has no name
        print(f"Error: {error}{hint if is_missing else ''}", file=sys.stderr)
        return 2
