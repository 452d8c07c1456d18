#!/usr/bin/env python3
"""Train and test one method on one dataset: the command line of CoOp and MaPLe.

    python train.py --root data --trainer MPL --dataset-config-file configs/datasets/shapes.yaml \\
        --config-file configs/trainers/MPL/tiny_shapes.yaml --output-dir output/try --seed 1 DATASET.NUM_SHOTS 16

Settings come from, each before overridden by the next: the defaults, the dataset's YAML file, the method's YAML file, the flags, the KEY VALUE pairs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

# The engine, the methods and torch are imported where they are needed, so that --help answers at once.

LAUNCHER_SETTINGS = "LAUNCH_SETTINGS"  # environment variable: what the launchers want noted in the run's settings.txt
AGAIN = {
    False: "the same command",
    True: "the same command without --fresh (--force in the launchers)",
}  # what goes on with a run that --fresh began or not
FLAG_KEYS = {  # flag -> the setting that it gives
    "root": "DATASET.ROOT",
    "output_dir": "OUTPUT_DIR",
    "resume": "RESUME",
    "seed": "SEED",
    "source_domains": "DATASET.SOURCE_DOMAINS",
    "target_domains": "DATASET.TARGET_DOMAINS",
    "transforms": "INPUT.TRANSFORMS",
    "trainer": "TRAINER.NAME",
    "backbone": "MODEL.BACKBONE.NAME",
    "head": "MODEL.HEAD.NAME",
}


def build_parser() -> argparse.ArgumentParser:
    """The flags of CoOp's and MaPLe's train.py; every one not given leaves its setting alone."""
    parser = argparse.ArgumentParser(description="Train and test one prompt-learning method on one dataset.")
    parser.add_argument("--root", help="folder that holds the datasets (DATASET.ROOT)")
    parser.add_argument("--output-dir", help="folder of this run: log.txt, result.json, metrics.jsonl, checkpoints (OUTPUT_DIR)")
    parser.add_argument("--resume", help="folder of the run to go on with, if not the output folder (RESUME)")
    parser.add_argument("--seed", type=int, help="0 or more; without it the run is not seeded (SEED)")
    parser.add_argument("--source-domains", nargs="+", help="domains to train on, for datasets that have domains")
    parser.add_argument("--target-domains", nargs="+", help="domains to test on, for datasets that have domains")
    parser.add_argument("--transforms", nargs="+", help="training transforms (INPUT.TRANSFORMS)")
    parser.add_argument("--config-file", help="the method's YAML file, one of configs/trainers/")
    parser.add_argument("--dataset-config-file", help="the dataset's YAML file, one of configs/datasets/")
    parser.add_argument("--trainer", help="the method: MPL, ZeroshotCLIP, … (TRAINER.NAME)")
    parser.add_argument(
        "--backbone",
        help="a published CLIP such as ViT-B/16, open_clip:<model>/<weights>, or the path of a weights file (MODEL.BACKBONE.NAME)",
    )
    parser.add_argument("--head", help="head of models that have one, which no method here has (MODEL.HEAD.NAME)")
    parser.add_argument("--eval-only", action="store_true", help="test without training")
    parser.add_argument("--model-dir", help="folder of the run whose checkpoint is tested with --eval-only")
    parser.add_argument("--load-epoch", type=int, help="epoch of that checkpoint; without it the best on val")
    parser.add_argument("--fresh", action="store_true", help="remove the run that the output folder holds, and begin anew")
    parser.add_argument("--no-train", action="store_true", help="build everything and stop")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(has_begun_anew=False)  # whether --fresh has removed what was there
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings, such as TRAINER.MPL.N_CTX 1")
    return parser


def extend_cfg(cfg: Any) -> None:
    """Declare every dataset's and every method's settings in ``cfg``, and register readers and trainers."""
    import datasets
    import trainers

    datasets.extend_cfg(cfg)
    trainers.extend_cfg(cfg)


def setup_cfg(args: argparse.Namespace) -> Any:
    """The frozen config of a run.

    Raises:
        ValueError: a file or pair sets an unknown key or a value of another type; all such mistakes of one source together.
    """
    from dassl.config import get_cfg_default

    cfg = get_cfg_default()
    extend_cfg(cfg)
    for path in (args.dataset_config_file, args.config_file):
        if path:
            cfg.merge_from_file(path)
    for flag in ("source_domains", "target_domains", "transforms"):
        swallowed = [word for word in getattr(args, flag) or () if "." in word]
        if swallowed:
            raise ValueError(
                f"--{flag.replace('_', '-')} took {' '.join(swallowed)} for its values; put another flag before the KEY VALUE pairs"
            )
    flags = {key: getattr(args, flag) for flag, key in FLAG_KEYS.items() if getattr(args, flag) is not None}
    cfg.merge_from_list([item for pair in flags.items() for item in pair])
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    return cfg


def run(args: argparse.Namespace, cfg: Any) -> None:
    """Hold the run's folder, build the trainer that the config names, then train it, or test it alone.

    Args:
        args: the flags.
        cfg: their config, from :func:`setup_cfg`.
    """
    from dassl.engine.checks import loader_of
    from dassl.engine.records import holds_training
    from dassl.utils.run_lock import hold_run_folder, note_settings

    check_flags(args, cfg)
    check_head(cfg)
    with hold_run_folder(cfg.OUTPUT_DIR):
        if args.eval_only and holds_training(cfg.OUTPUT_DIR):
            raise ValueError(
                f"{cfg.OUTPUT_DIR} holds a training, and --eval-only would write its test over that training's result.json: give the test an --output-dir of "
                "its own"
            )
        if LAUNCHER_SETTINGS in os.environ and not args.fresh:
            note_settings(cfg.OUTPUT_DIR, os.environ[LAUNCHER_SETTINGS])
        trainer = build(cfg)
        check_domains(trainer, cfg)
        if args.eval_only:
            load_what_is_tested(trainer, args, cfg)
            if args.fresh:
                loader_of(trainer, cfg.TEST.SPLIT)
                begin_anew(trainer, args, cfg)
            trainer.test()
            trainer.finish()
        elif not args.no_train:
            if getattr(trainer.dm.dataset, "test_only", False):
                raise ValueError(
                    f"{cfg.DATASET.NAME} is for testing alone, and training on it would train on its test pictures: add --eval-only"
                )
            if args.fresh:
                check_new_training(trainer, cfg)
                begin_anew(trainer, args, cfg)
            trainer.train()
            trainer.finish()  # the engine's own loop has done so; a trainer with a loop of its own may not have


def load_what_is_tested(trainer: Any, args: argparse.Namespace, cfg: Any) -> None:
    """Load the checkpoint that --eval-only tests.

    Raises:
        ValueError, FileNotFoundError: there is none; the message says what to give.
    """
    if trainer.get_model_names() and not args.model_dir and not cfg.MODEL.INIT_WEIGHTS:
        raise ValueError(
            f"--eval-only of {cfg.TRAINER.NAME} needs --model-dir, the folder of a trained run: without it, untrained prompts would be tested"
        )
    if args.model_dir and not trainer.get_model_names():
        print(f"Note: --model-dir {args.model_dir} is not read: {cfg.TRAINER.NAME} learns nothing that could be loaded")
    trainer.load_model(args.model_dir, epoch=args.load_epoch)


def check_new_training(trainer: Any, cfg: Any) -> None:
    """Raise what the training would, before --fresh removes the run that is there."""
    from dassl.engine.checks import check_epochs, check_source

    trainer.check_training()
    if cfg.RESUME:
        check_source(cfg.RESUME, trainer.get_model_names())
        check_epochs(trainer, trainer.resume_model_if_exist(cfg.RESUME))


def begin_anew(trainer: Any, args: argparse.Namespace, cfg: Any) -> None:
    """Remove the run that the output folder holds, now that all that --fresh asks for has been seen to work."""
    from dassl.utils.logger import take_wanted_name
    from dassl.utils.run_lock import note_settings, remove_run

    remove_run(cfg.OUTPUT_DIR, checkpoint_folders(trainer))
    args.has_begun_anew = True
    take_wanted_name()
    if LAUNCHER_SETTINGS in os.environ:
        note_settings(cfg.OUTPUT_DIR, os.environ[LAUNCHER_SETTINGS])


def check_flags(args: argparse.Namespace, cfg: Any) -> None:
    """Refuse flags, and RESUME as a pair, that would do nothing beside the others, so that nobody takes the run for what it is not.

    Raises:
        ValueError: says what to give instead.
    """
    if args.model_dir and not args.eval_only:
        raise ValueError(
            f"--model-dir {args.model_dir} is what --eval-only tests, and training would not begin from it: add --eval-only; or, to train, --resume FOLDER "
            "goes on with a run, and MODEL.INIT_WEIGHTS FILE begins with the prompts of a checkpoint"
        )
    if args.load_epoch is not None and not args.model_dir:
        raise ValueError(
            f"--load-epoch {args.load_epoch} says which checkpoint of --model-dir is tested: give --model-dir FOLDER and --eval-only, or leave it out"
        )
    if args.fresh:
        check_fresh(args, cfg)
    if cfg.RESUME and args.eval_only:
        raise ValueError(
            f"--resume {cfg.RESUME} (RESUME) goes on with a training, and --eval-only trains nothing: name the run to test by --model-dir, or leave one of "
            "them out"
        )


def check_fresh(args: argparse.Namespace, cfg: Any) -> None:
    """Refuse --fresh where it would remove what the run begins with, or begin none.

    Raises:
        ValueError: names the flag or the setting.
    """
    if args.no_train and not args.eval_only:
        raise ValueError("--fresh would remove the run that is there, and --no-train begin none: leave one of them out")
    output = os.path.realpath(os.path.expanduser(cfg.OUTPUT_DIR))
    for name, path in (("--model-dir", args.model_dir), ("--resume", cfg.RESUME)):
        if path and os.path.realpath(os.path.expanduser(path)) == output:
            raise ValueError(f"--fresh would remove the run in {path}, which {name} asks for: leave one of them out")
    start = cfg.MODEL.INIT_WEIGHTS
    if start and os.path.realpath(os.path.expanduser(start)).startswith(os.path.join(output, "")):
        raise ValueError(
            f"--fresh would remove {start} with the run that is there, and MODEL.INIT_WEIGHTS begins with it: copy it elsewhere, or give another --output-dir"
        )


def checkpoint_folders(trainer: Any) -> set[str]:
    """The names of the folders in which this trainer and those of the registered methods keep checkpoints."""
    from dassl.engine import TRAINER_REGISTRY

    methods = (TRAINER_REGISTRY.get(name) for name in TRAINER_REGISTRY.registered_names())
    return {*trainer.get_model_names(), *(method.checkpoint_name for method in methods if hasattr(method, "checkpoint_name"))}


def check_head(cfg: Any) -> None:
    """Refuse a head for a method without one, before data and weights are read.

    Raises:
        ValueError: names the setting.
    """
    from dassl.engine import TRAINER_REGISTRY
    from trainers.base import PromptTrainer
    from trainers.zsclip import ZeroshotCLIP

    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME) if cfg.MODEL.HEAD.NAME else None
    if isinstance(trainer, type) and issubclass(trainer, PromptTrainer | ZeroshotCLIP):
        raise ValueError(
            f"--head {cfg.MODEL.HEAD.NAME} (MODEL.HEAD.NAME): {cfg.TRAINER.NAME} has no head, it compares pictures with the class names' prompts; leave it out"
        )


def check_domains(trainer: Any, cfg: Any) -> None:
    """Refuse domains for a dataset that has none.

    Raises:
        ValueError: names the setting.
    """
    dataset = getattr(getattr(trainer, "dm", None), "dataset", None)
    for key in ("SOURCE_DOMAINS", "TARGET_DOMAINS"):
        if cfg.DATASET[key] and dataset is not None and not getattr(dataset, "domains", None):
            raise ValueError(
                f"--{key.lower().replace('_', '-')} {' '.join(cfg.DATASET[key])} (DATASET.{key}): {cfg.DATASET.NAME} has no domains; leave it out"
            )


def build(cfg: Any) -> Any:
    """The trainer of a config, with the random generators seeded and standard output copied to log.txt."""
    from dassl.engine import build_trainer
    from dassl.utils import collect_env_info, set_random_seed, setup_logger

    if cfg.SEED >= 0:
        print(f"Setting fixed seed: {cfg.SEED}")
        set_random_seed(cfg.SEED)
    setup_logger(cfg.OUTPUT_DIR)
    print(f"** Command **\n{' '.join(sys.argv)}\n** Config **\n{cfg}\n** Environment **\n{collect_env_info()}\n")
    try:
        return build_trainer(cfg)
    except FileNotFoundError as e:
        raise FileNotFoundError(f"{e}{note_on_missing_weights(cfg, e)}") from e


def note_on_missing_weights(cfg: Any, error: FileNotFoundError) -> str:
    """Where data are missing, whether the weights are missing as well, so that both can be fetched at once."""
    from clip.weights import WeightsNotFoundError, find_local, missing_message, published_models

    name = cfg.MODEL.BACKBONE.NAME
    if isinstance(error, WeightsNotFoundError) or name not in published_models() or find_local(name):
        return ""
    return f"\n\n{missing_message(name)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        exit status: 0; 2 for an error that a setting, a file or the machine caused, which is told in a few lines; 143 or 130 for a run that was stopped by
        SIGTERM or Ctrl-C.
    """
    args = build_parser().parse_args(argv)
    from dassl.engine.failures import asides_in_short, explain
    from dassl.engine.stopping import STOP, StopRequested

    cfg = None
    with contextlib.nullcontext() if args.debug else asides_in_short():  # also around the end of what a failed run leaves
        try:
            with STOP.listening():
                cfg = setup_cfg(args)
                run(args, cfg)
        except StopRequested as stop:
            if args.debug:
                traceback.print_exc()
            # A fresh test follows a training that a launcher's --force may just have made, and would make again.
            is_anew = args.has_begun_anew or bool(args.fresh and args.eval_only and args.model_dir)
            tell(f"\n{str(stop).capitalize()}. What is saved is whole, and {AGAIN[is_anew]} goes on from there.")
            return stop.exit_status
        except Exception as error:
            message = explain(error, cfg)
            if not message:  # a mistake of the program, whose traceback is what helps
                raise
            if args.debug:
                traceback.print_exc()
            tell(f"\nError: {message.replace(AGAIN[False], AGAIN[args.has_begun_anew])}\n(--debug shows where it was raised)")
            return 2
    return 0


def tell(text: str) -> None:
    """Print to standard error, and into the run's log.txt if there is one."""
    print(text, file=sys.stderr)
    log = getattr(sys.stdout, "file", None)  # the engine's tee of standard output
    if log:
        with contextlib.suppress(OSError):  # as when the disk is full, which has been told
            print(text, file=log, flush=True)


if __name__ == "__main__":
    if hasattr(signal, "SIGUSR1"):  # by which a launcher passes on what came to its shell; before the run listens, it ends as by SIGTERM
        signal.signal(signal.SIGUSR1, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # while torch was being imported
        sys.exit(130)
