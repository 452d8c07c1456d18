#!/usr/bin/env python3
"""Convert what was trained:  python tools/export.py SOURCE [--safetensors FILE] [--pth-tar FOLDER] [--onnx FILE] [--torch-export FILE]

SOURCE is a prompt file (prompts.safetensors), a checkpoint (model.pth.tar-<epoch>), or the folder of a run. Without a target, what it is is shown.
A checkpoint of the published code does not say what it was trained with; say it:

    python tools/export.py model.pth.tar-5 --safetensors prompts.safetensors --method MaPLe --backbone ViT-B/16 --classes names.txt \\
        --config-file configs/trainers/MaPLe/vit_b16_c2_ep5_batch4_2ctx.yaml
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXPECTED_ERRORS = (ValueError, OSError, LookupError, ModuleNotFoundError)


def build_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="prompts.safetensors, model.pth.tar-<epoch>, or the folder of a run")
    targets = parser.add_argument_group("what to write")
    targets.add_argument("--safetensors", metavar="FILE", help="the prompt file")
    targets.add_argument(
        "--pth-tar",
        metavar="FOLDER",
        help="the checkpoint layout of the published code in a new folder, for train.py --eval-only --model-dir FOLDER",
    )
    targets.add_argument("--onnx", metavar="FILE", help="image tower with its prompts, text features and logits, for onnxruntime")
    targets.add_argument("--torch-export", metavar="FILE", help="the same as a program of torch.export (.pt2)")
    parser.add_argument(
        "--names", metavar="FILE", help="class names for --onnx and --torch-export, one a line; by default those of the training"
    )
    said = parser.add_argument_group("what a published checkpoint does not say")
    said.add_argument("--method", default="", help="MPL, MaPLe, IVLP, VPT, CoOp, CoCoOp or PromptSRC")
    said.add_argument("--backbone", default="", help="the CLIP: a name such as ViT-B/16, or the path of its weights")
    said.add_argument("--classes", metavar="FILE", help="class names of the training, one a line, in the order of their labels")
    said.add_argument("--config-file", action="append", default=[], metavar="FILE", help="YAML of the training; may be given twice")
    said.add_argument("--dataset", default="", help="name of the data, to be kept in the prompt file")
    said.add_argument("pairs", nargs="*", metavar="KEY VALUE", help="further settings, such as TRAINER.MAPLE.N_CTX 4")
    return parser


def read_source(args: argparse.Namespace) -> Any:
    """The prompts that the arguments name.

    Raises:
        ValueError, FileNotFoundError: they are not there, do not fit, or something about them is not said.
    """
    from classify.convert import Given, from_checkpoint
    from classify.names import read_names
    from trainers.prompt_file import PromptFile

    if Path(args.source).suffix == ".safetensors":
        if args.method or args.classes or args.config_file or args.dataset or args.pairs:
            raise ValueError(
                f"{args.source} is a prompt file and says itself what it is of: leave out --method, --classes, --config-file, --dataset and KEY VALUE"
            )
        return PromptFile.read(args.source)
    classes = read_names(args.classes) if args.classes else ()
    return from_checkpoint(args.source, Given(args.method, args.backbone, classes, args.config_file, args.pairs, args.dataset))


def export_programs(args: argparse.Namespace, file: Any) -> None:
    """Write the ONNX file and the program of torch.export that are asked for, and hold their logits against PyTorch's.

    Raises:
        ValueError: logits differ.
    """
    from classify import PromptClassifier, export
    from classify.names import read_names

    classifier = PromptClassifier.of_file(
        file, args.source, read_names(args.names) if args.names else None, args.backbone or None, "cpu", "fp32"
    )
    kinds: list[tuple[str, Callable, Callable]] = [
        (args.torch_export, export.export_torch, export.torch_export_logits),
        (args.onnx, export.export_onnx, export.onnx_logits),
    ]
    for path, write, logits in kinds:
        if path:
            write(classifier, path)
            print(f"Wrote {path} ({Path(path).stat().st_size:,} bytes): {len(classifier.classnames)} classes, any number of pictures")
            print(checked(classifier, path, partial(logits, path)))


def checked(classifier: Any, path: str, run: Callable) -> str:
    """What comparing the logits of a written file with PyTorch's has shown.

    Raises:
        ValueError: they differ.
    """
    from classify.export import TOLERANCE, largest_difference

    try:
        difference = largest_difference(classifier, run)
    except ModuleNotFoundError as error:
        return f"Not run, since {error.name} is not installed: pip install {error.name}, and export again to have its logits compared"
    if not difference <= TOLERANCE:
        raise ValueError(
            f"{path} was written, but its logits differ from PyTorch's by {difference:.2g}, more than {TOLERANCE}: do not use it"
        )
    return f"Run on 1 and on 3 random pictures: logits within {difference:.1g} of PyTorch's"


def run(args: argparse.Namespace) -> None:
    """Read the source and write what is asked for."""
    from classify.convert import check_new_folder, describe_text, to_checkpoint
    from dassl.utils.files import check_target

    if args.names and not (args.onnx or args.torch_export):
        raise ValueError(
            "--names are the classes of an exported program: give --onnx or --torch-export, too (--classes are those of the training)"
        )
    targets = [path for path in (args.safetensors, args.onnx, args.torch_export) if path]
    for path in targets:
        check_target(path)
    if len({Path(path).resolve() for path in targets}) < len(targets):
        raise ValueError(f"one file cannot hold two exports; received {', '.join(targets)}: name another for each")
    if args.pth_tar:
        check_new_folder(args.pth_tar)
    file = read_source(args)
    if not any((args.safetensors, args.pth_tar, args.onnx, args.torch_export)):
        print(describe_text(file))
    if args.safetensors:
        path = file.write(args.safetensors)
        print(f"Wrote {path} ({path.stat().st_size:,} bytes)\n{describe_text(file)}")
    if args.pth_tar:
        path = to_checkpoint(file, args.pth_tar)
        print(f"Test it: python train.py --eval-only --model-dir {args.pth_tar} --load-epoch {path.name.rpartition('-')[2]} …")
    if args.onnx or args.torch_export:
        export_programs(args, file)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        exit status: 0, or 2 for an error that an argument or a file caused.
    """
    args = build_parser().parse_args(argv)
    try:
        run(args)
    except EXPECTED_ERRORS as error:
        from dassl.engine.failures import message_of

        print(f"Error: {message_of(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
