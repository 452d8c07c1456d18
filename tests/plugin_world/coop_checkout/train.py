"""A `train.py` in the style of CoOp's."""

import argparse

import torch
from yacs.config import CfgNode

import datasets.little  # noqa: F401
import trainers.little_coop  # noqa: F401
from dassl.config import get_cfg_default
from dassl.engine import build_trainer
from dassl.utils import collect_env_info, set_random_seed, setup_logger


def setup_cfg(args):
    cfg = get_cfg_default()
    cfg.TRAINER.LITTLECOOP = CfgNode()
    cfg.TRAINER.LITTLECOOP.N_CTX = 4
    cfg.TRAINER.LITTLECOOP.PREC = "fp16"  # fp16, fp32, amp
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"  # all, base or new
    cfg.merge_from_file(args.config_file)
    cfg.DATASET.ROOT, cfg.OUTPUT_DIR = args.root, args.output_dir
    cfg.SEED, cfg.TRAINER.NAME = args.seed, args.trainer
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    return cfg


def main(args):
    cfg = setup_cfg(args)
    set_random_seed(cfg.SEED)
    setup_logger(cfg.OUTPUT_DIR)
    if torch.cuda.is_available() and cfg.USE_CUDA:
        torch.backends.cudnn.benchmark = True
    print(cfg)
    print(f"** System info **\n{collect_env_info()}\n")
    trainer = build_trainer(cfg)
    if args.eval_only:
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
        trainer.test()
    else:
        trainer.train()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for flag in ("root", "output-dir", "config-file", "trainer", "model-dir"):
        parser.add_argument(f"--{flag}", type=str, default="")
    parser.add_argument("--seed", type=int, default=-1)
    parser.add_argument("--load-epoch", type=int)
    parser.add_argument("--eval-only", action="store_true")
    parser.add_argument("opts", default=None, nargs=argparse.REMAINDER)
    main(parser.parse_args())
