"""Builds real trainers on a small CLIP and a small EuroSAT folder, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import train
from clip import CLIP, CLIPConfig
from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY, build_trainer
from trainers.base import PromptTrainer

NAMES = ["Annual Crop Land", "Forest", "Highway or Road", "River", "Sea or Lake"]
SIZES = {  # two pairs of widths
    "narrow": CLIPConfig(32, 32, 4, 64, 16, 32, 49408, 64, 3),
    "wide": CLIPConfig(48, 32, 3, 128, 8, 24, 49408, 192, 4),
}
PUBLISHED = ("MPL", "MaPLe", "IVLP", "VPT", "CoOp", "CoCoOp", "PromptSRC")  # those of which published checkpoints exist
REGISTERED = {name: TRAINER_REGISTRY.get(name) for name in TRAINER_REGISTRY.registered_names()}
OTHERS = sorted(
    name
    for name, of in REGISTERED.items()
    if issubclass(of, PromptTrainer) and of.__module__.startswith("trainers.") and name not in PUBLISHED
)
METHODS = (*PUBLISHED, *OTHERS)  # every method that has a file in trainers/ and learns something
STATIC = tuple(name for name in METHODS if vars(REGISTERED[name]).get("has_static_step"))
NODES = {name: REGISTERED[name].settings_node for name in METHODS}


def write_weights(path: Path, config: CLIPConfig, seed: int = 0) -> Path:
    """A plain state dict of a CLIP of these sizes with random weights; the embedding is not near zero, so that words differ."""
    torch.manual_seed(seed)
    state = CLIP(config).state_dict()
    torch.save(state, path)
    return path


def write_eurosat(root: Path, n_train: int = 4, n_test: int = 3) -> Path:
    """A EuroSAT folder of five classes with small random pictures."""
    rng = np.random.default_rng(0)
    split: dict[str, list] = {"train": [], "val": [], "test": []}
    for label, name in enumerate(NAMES):
        for part, count in (("train", n_train), ("val", 1), ("test", n_test)):
            for i in range(count):
                relative = f"{name.replace(' ', '')}/{part}_{i}.png"
                path = root / "eurosat" / "2750" / relative
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8) // (label + 1)).save(path)
                split[part].append([relative, label, name])
    (root / "eurosat" / "split_zhou_EuroSAT.json").write_text(json.dumps(split))
    return root


def config(method: str, root: Path, weights: Path | str, output: Path, *pairs: Any) -> Any:
    """The config of a small run of ``method`` in fp32 on the CPU, where there is a GPU too, with further KEY, VALUE pairs."""
    cfg = get_cfg_default()
    train.extend_cfg(cfg)
    settings: list[Any] = [
        "TRAINER.NAME",
        method,
        "DATASET.NAME",
        "EuroSAT",
        "DATASET.ROOT",
        str(root),
        "MODEL.BACKBONE.NAME",
        str(weights),
    ]
    settings += [
        "OUTPUT_DIR",
        str(output),
        "SEED",
        1,
        "USE_CUDA",
        False,
        "INPUT.SIZE",
        (32, 32),
        "INPUT.TRANSFORMS",
        ("random_flip", "normalize"),
    ]
    settings += [
        "DATALOADER.NUM_WORKERS",
        0,
        "DATALOADER.TRAIN_X.BATCH_SIZE",
        4,
        "OPTIM.NAME",
        "sgd",
        "OPTIM.LR",
        0.01,
        "OPTIM.MAX_EPOCH",
        2,
    ]
    settings += ["OPTIM.LR_SCHEDULER", "cosine"]
    if method in NODES:
        settings += [f"TRAINER.{NODES[method]}.PREC", "fp32"]
        for key in cfg.TRAINER[NODES[method]]:
            settings += [f"TRAINER.{NODES[method]}.{key}", 3] if key.startswith("PROMPT_DEPTH") else []
    cfg.merge_from_list(settings)
    cfg.merge_from_list(list(pairs))
    cfg.freeze()
    return cfg


def build(method: str, root: Path, weights: Path | str, output: Path, *pairs: Any) -> Any:
    """The trainer of :func:`config`."""
    torch.manual_seed(0)
    return build_trainer(config(method, root, weights, output, *pairs))
