"""Every committed config: it loads, holds the published values, says how it is run, and a script runs it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import train
from clip.weights import published_models
from dassl.engine import TRAINER_REGISTRY
from dassl.optim import build_lr_scheduler
from tests.trainers.small_runs import NODES, OTHERS

REPO = Path(__file__).parents[1]
CONFIGS = {f"{path.parent.name}/{path.stem}": path for path in sorted((REPO / "configs/trainers").glob("*/*.yaml"))}
SCRIPTS = {path.relative_to(REPO).as_posix(): path.read_text(encoding="utf-8") for path in sorted((REPO / "scripts").rglob("*.sh"))}
TRAINERS = {  # folder in scripts/ -> the trainer that its launchers run
    path.split("/")[1]: re.search(r"^TRAINER=(?:\$\{TRAINER:-)?(\w+)", text, re.MULTILINE).group(1)
    for path, text in SCRIPTS.items()
    if path.endswith("/settings.sh")
}
A_PHOTO = "a photo of a"


def mpl(depth: int) -> dict[str, Any]:
    return {"N_CTX": 1, "N_ADD_OP": 2, "N_RM_OP": 1, "CTX_INIT": A_PHOTO, "PROMPT_DEPTH": depth}


def maple(depth: int) -> dict[str, Any]:
    return {"N_CTX": 2, "CTX_INIT": A_PHOTO, "PROMPT_DEPTH": depth}


def both_towers(n_vision: int, n_text: int, depth_vision: int, depth_text: int) -> dict[str, Any]:
    depths = {"PROMPT_DEPTH_VISION": depth_vision, "PROMPT_DEPTH_TEXT": depth_text}
    return {"N_CTX_VISION": n_vision, "N_CTX_TEXT": n_text, "CTX_INIT": A_PHOTO, **depths}


def promptsrc(depth: int, mean: float, std: float) -> dict[str, Any]:
    return both_towers(4, 4, depth, depth) | {"TEXT_LOSS_WEIGHT": 25, "IMAGE_LOSS_WEIGHT": 10, "GPA_MEAN": mean, "GPA_STD": std}


# name: batch, LR, epochs, backbone, settings of the method; the published files
PUBLISHED = {
    "MPL/vit_b4_c1_add2_rm1": (4, 0.0035, 5, "ViT-B/16", mpl(9)),
    "MPL/vit_b4_c1_add2_rm1_cross_datasets": (4, 0.0026, 2, "ViT-B/16", mpl(3)),
    "MaPLe/vit_b16_c2_ep5_batch4_2ctx": (4, 0.0035, 5, "ViT-B/16", maple(9)),
    "MaPLe/vit_b16_c2_ep5_batch4_2ctx_cross_datasets": (4, 0.0026, 2, "ViT-B/16", maple(3)),
    "IVLP/vit_b16_c2_ep5_batch4_2+2ctx": (4, 0.0035, 5, "ViT-B/16", both_towers(2, 2, 12, 12)),
    "IVLP/vit_b16_c2_ep5_batch4_4ctx_language_only": (4, 0.0025, 5, "ViT-B/16", both_towers(0, 4, 0, 12)),
    "VPT/vit_b16_c2_ep5_batch4_4": (4, 0.0025, 5, "ViT-B/16", {"N_CTX_VISION": 8, "CTX_INIT": A_PHOTO, "PROMPT_DEPTH_VISION": 12}),
    "CoCoOp/vit_b16_c4_ep10_batch1_ctxv1": (1, 0.002, 10, "ViT-B/16", {"N_CTX": 4, "CTX_INIT": A_PHOTO}),
    **{f"CoCoOp/vit_b16_c{n}_ep10_batch1": (1, 0.002, 10, "ViT-B/16", {"N_CTX": n, "CTX_INIT": ""}) for n in (4, 8, 16)},
    **{
        f"CoOp/{short}{ending}{words}": (
            32,
            0.002,
            epochs,
            backbone,
            {"N_CTX": n_ctx, "CTX_INIT": init, "CSC": False, "CLASS_TOKEN_POSITION": "end"},
        )
        for short, backbone in (("rn50", "RN50"), ("rn101", "RN101"), ("vit_b32", "ViT-B/32"), ("vit_b16", "ViT-B/16"))
        for ending, epochs in (("", 200), ("_ep50", 50), ("_ep100", 100))
        for words, n_ctx, init in (("", 16, ""), ("_ctxv1", 4, A_PHOTO))
    },
    "PromptSRC/vit_b16_c2_ep20_batch4_4+4ctx": (4, 0.0025, 20, "ViT-B/16", promptsrc(9, 15, 1)),
    "PromptSRC/vit_b16_c2_ep20_batch4_4+4ctx_cross_datasets": (4, 0.0025, 20, "ViT-B/16", promptsrc(3, 6, 10)),
    "PromptSRC/vit_b16_c2_ep50_batch4_4+4ctx_few_shot": (4, 0.0025, 50, "ViT-B/16", promptsrc(9, 30, 30)),
}
ZEROSHOT = {
    "rn50": "RN50",
    "rn101": "RN101",
    "vit_b32": "ViT-B/32",
    "vit_b16": "ViT-B/16",
    "vit_l14": "ViT-L/14",
    "vit_l14_336": "ViT-L/14@336px",
}


def load(name: str) -> Any:
    """The config of a run with this file, as train.py makes it."""
    trainer = name.split("/")[0]
    arguments = [
        "--trainer",
        trainer,
        "--config-file",
        str(CONFIGS[name]),
        "--dataset-config-file",
        str(REPO / "configs/datasets/eurosat.yaml"),
    ]
    return train.setup_cfg(train.build_parser().parse_args(arguments))


def learning_rates(cfg: Any) -> list[float]:
    """The rate of each epoch."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=cfg.OPTIM.LR)
    schedule = build_lr_scheduler(optimizer, cfg.OPTIM)
    rates = []
    for _ in range(cfg.OPTIM.MAX_EPOCH):
        rates.append(optimizer.param_groups[0]["lr"])
        schedule.step()
    return rates


def test_the_configs_are_those_published_and_one_a_method_for_shapes() -> None:
    tiny = {f"{method}/tiny_shapes" for method in [*NODES, "ZeroshotCLIP"]}
    of_others = {name for name in CONFIGS if name.split("/")[0] in OTHERS}
    assert set(CONFIGS) - of_others == (PUBLISHED.keys() | tiny | {f"ZeroshotCLIP/{name}" for name in ZEROSHOT}) - of_others
    assert tiny <= set(CONFIGS), "a method has no config for shapes"
    assert (len(PUBLISHED), len(tiny) - len(OTHERS), len(ZEROSHOT), len(set(CONFIGS) - of_others)) == (38, 8, 6, 52)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name: str) -> None:
    batch, lr, epochs, backbone, settings = PUBLISHED[name]
    cfg = load(name)
    node = cfg.TRAINER[NODES[cfg.TRAINER.NAME]]
    assert {key: node[key] for key in settings} == settings
    assert node.PREC == "fp16"
    assert (batch, lr, epochs, backbone) == (cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH, cfg.MODEL.BACKBONE.NAME)
    assert (cfg.OPTIM.NAME, cfg.OPTIM.MOMENTUM, cfg.OPTIM.WEIGHT_DECAY, cfg.OPTIM.LR_SCHEDULER) == ("sgd", 0.9, 5e-4, "cosine")
    assert (cfg.DATALOADER.TEST.BATCH_SIZE, cfg.DATALOADER.NUM_WORKERS) == (100, 8)
    assert (tuple(cfg.INPUT.SIZE), cfg.INPUT.INTERPOLATION) == ((224, 224), "bicubic")
    assert tuple(cfg.INPUT.TRANSFORMS) == ("random_resized_crop", "random_flip", "normalize")
    rates = learning_rates(cfg)
    assert len(rates) == epochs
    assert rates[:2] == [1e-5, lr]
    assert all(a > b > 0 for a, b in zip(rates[1:], rates[2:], strict=False))


def test_the_learning_rates_of_the_papers_setting() -> None:
    assert learning_rates(load("MPL/vit_b4_c1_add2_rm1")) == pytest.approx([1e-5, 3.5e-3, 3.166e-3, 2.2908e-3, 1.2092e-3], rel=1e-4)


@pytest.mark.parametrize("name", ZEROSHOT)
def test_zero_shot_configs_have_their_backbones_and_their_size(name: str) -> None:
    cfg = load(f"ZeroshotCLIP/{name}")
    assert ZEROSHOT[name] == cfg.MODEL.BACKBONE.NAME
    side = published_models()[ZEROSHOT[name]].config.image_size
    assert tuple(cfg.INPUT.SIZE) == (side, side)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_loads_with_a_registered_trainer_and_clips_pixels(name: str) -> None:
    cfg = load(name)
    assert cfg.TRAINER.NAME in TRAINER_REGISTRY.registered_names()
    assert cfg.INPUT.PIXEL_MEAN == [0.48145466, 0.4578275, 0.40821073]
    assert cfg.INPUT.PIXEL_STD == [0.26862954, 0.26130258, 0.27577711]
    if name.endswith("/tiny_shapes"):
        assert (cfg.MODEL.BACKBONE.NAME, tuple(cfg.INPUT.SIZE)) == ("Tiny-Shapes", (64, 64))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_sets_its_own_method_alone(name: str) -> None:
    method = name.split("/")[0]
    own = {NODES[method]} if method in NODES else set()
    assert yaml.safe_load(CONFIGS[name].read_text(encoding="utf-8")).get("TRAINER", {}).keys() == own


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_opens_with_its_command(name: str) -> None:
    head = re.match(r"(#.*\n)+", CONFIGS[name].read_text(encoding="utf-8"))
    assert head, "no comment at the top"
    assert head.group().startswith("# Command:  ")
    assert "\n# Hardware: " in head.group()
    if not name.endswith("/tiny_shapes") and name.split("/")[0] not in OTHERS:
        assert re.search(r"arXiv \d{4}\.\d{5}", head.group())
        assert "Not yet run here on real data" in " ".join(head.group().replace("\n#", " ").split())
    method, cfg = name.split("/")
    commands = re.findall(r"(CFG=\S+ )?bash (scripts/\S+\.sh)((?: [A-Za-z0-9_+]+)*)", head.group())
    assert commands
    for chosen, script, arguments in commands:
        assert script in SCRIPTS, f"{script} is not there"
        assert chosen in ("", f"CFG={cfg} ")
        assert TRAINERS[script.split("/")[1]] == method, f"{script} runs another method"
        if script.endswith(("/main.sh", "/zeroshot.sh")):
            assert arguments.split()[1] == cfg


def names_in(*paths: str) -> set[str]:
    """The words of scripts that can be names of configs."""
    return {word for path in paths for word in re.findall(r"[\w+]+", SCRIPTS[path])}


def test_every_config_is_named_by_a_script_of_its_method() -> None:
    folders = {trainer: folder for folder, trainer in TRAINERS.items()}
    assert set(folders) == {*NODES, "ZeroshotCLIP"}
    for name in CONFIGS:
        method, cfg = name.split("/")
        named = names_in("scripts/common.sh", *(path for path in SCRIPTS if path.startswith(f"scripts/{folders[method]}/")))
        assert cfg in named, f"no script of scripts/{folders[method]} names {cfg}"


def test_scripts_name_configs_that_exist() -> None:
    """Every word that begins as a config's name does is one."""
    known = {name.split("/")[1] for name in CONFIGS}
    found = {path: set(re.findall(r"(?<![\w$*])(?:vit_[bl]\d+|rn50|rn101)[\w+]*", text)) for path, text in SCRIPTS.items()}
    assert set().union(*found.values()) <= known
    of_others = {folder for folder, trainer in TRAINERS.items() if trainer in OTHERS}
    published = set().union(*(named for path, named in found.items() if path.split("/")[1] not in of_others))
    assert len(published) == 40  # the published ones, and two backbones of zero-shot CLIP alone
