#!/usr/bin/env python3
"""Try prompts by hand on a local page:  python tools/page.py PROMPTS.safetensors [--classes names.txt] [--port 7860] [--open]

Drop a picture, edit the class names, see the bars. The page listens on this machine alone (127.0.0.1) and needs no network; Ctrl-C ends it.
It needs gradio 6 or later:  pip install -r requirements-page.txt
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# torch and the models are imported where they are needed, so that --help answers at once.


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].split(":  ")[0] + " (needs gradio 6 or later)")
    parser.add_argument("prompts", help="a prompt file: prompts.safetensors of a run's folder")
    parser.add_argument("--classes", metavar="FILE", help="class names to begin with, one a line; by default those of the training")
    parser.add_argument("--port", type=int, help="port of 127.0.0.1; by default 7860, or the next free one")
    parser.add_argument("--open", action="store_true", help="open the page in the default browser")
    parser.add_argument("--backbone", help="where the CLIP's weights are, if the name in the file does not tell")
    parser.add_argument("--device", help="cpu or cuda; by default a GPU if there is one")
    return parser


def run(args: argparse.Namespace) -> None:
    """Load the prompts and serve the page until interrupted."""
    from classify import PromptClassifier
    from classify.names import read_names
    from classify.page import import_gradio, serving

    import_gradio()  # what is missing is told before anything is loaded
    names = read_names(args.classes) if args.classes else None
    classifier = PromptClassifier.load(args.prompts, names, backbone=args.backbone, device=args.device)
    with serving(classifier, args.port, args.open) as address:
        print(f"The page of {args.prompts} is at {address} (Ctrl-C ends it)", flush=True)
        threading.Event().wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        exit status: 0 when interrupted, or 2 for what a file or an argument caused, which is told in a line.
    """
    args = build_parser().parse_args(argv)
    try:
        run(args)
    except KeyboardInterrupt:
        print("\nThe page has ended.")
    except (ValueError, OSError, LookupError) as error:
        from dassl.engine.failures import message_of

        print(f"Error: {message_of(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
