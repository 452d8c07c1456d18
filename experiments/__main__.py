"""Stub in this worktree: the other half of the room owns this file."""

import argparse
import sys

from dassl.utils.command import run_command

from .tables import add_commands

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments")
    add_commands(parser.add_subparsers(required=True))
    args = parser.parse_args()
    sys.exit(run_command(lambda: args.run(args)))
