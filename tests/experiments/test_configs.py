"""Every committed config: it loads, holds the published values, and a protocol's file names it."""

import re
from typing import Any

import pytest
import torch

import train
from clip.weights import published_models
from dassl.optim import build_lr_scheduler
from experiments.facts import ELEVEN, FEW_SHOTS, REPO, methods

PATHS = sorted((REPO / "configs/trainers").glob("*/*.yaml"))
CONFIGS = {f"{path.parent.name}/{path.stem}": path for path in PATHS}
A_PHOTO = "a photo of a"


def mpl(depth: int) -> dict[str, Any]:
    return {"N_CTX": 1, "N_ADD_OP": 2, "N_RM_OP": 1, "CTX_INIT": A_PHOTO, "PROMPT_DEPTH": depth}


def maple(depth: int) -> dict[str, Any]:
    return {"N_CTX": 2, "CTX_INIT": A_PHOTO, "PROMPT_DEPTH": depth}


def towers(n_vision: int, n_text: int, depth_vision: int, depth_text: int) -> dict[str, Any]:
    depths = {"PROMPT_DEPTH_VISION": depth_vision, "PROMPT_DEPTH_TEXT": depth_text}
    return {"N_CTX_VISION": n_vision, "N_CTX_TEXT": n_text, "CTX_INIT": A_PHOTO, **depths}


def promptsrc(depth: int, mean: float, std: float) -> dict[str, Any]:
    weights = {"TEXT_LOSS_WEIGHT": 25, "IMAGE_LOSS_WEIGHT": 10, "GPA_MEAN": mean, "GPA_STD": std}
    return towers(4, 4, depth, depth) | weights


VPT = {"N_CTX_VISION": 8, "CTX_INIT": A_PHOTO, "PROMPT_DEPTH_VISION": 12}
# name: batch, LR, epochs, settings of the method, of the published files for ViT-B/16
PUBLISHED: dict[str, tuple[int, float, int, dict[str, Any]]] = {
    "MPL/vit_b4_c1_add2_rm1": (4, 0.0035, 5, mpl(9)),
    "MPL/vit_b4_c1_add2_rm1_cross_datasets": (4, 0.0026, 2, mpl(3)),
    "MaPLe/vit_b16_c2_ep5_batch4_2ctx": (4, 0.0035, 5, maple(9)),
    "MaPLe/vit_b16_c2_ep5_batch4_2ctx_cross_datasets": (4, 0.0026, 2, maple(3)),
    "IVLP/vit_b16_c2_ep5_batch4_2+2ctx": (4, 0.0035, 5, towers(2, 2, 12, 12)),
    "IVLP/vit_b16_c2_ep5_batch4_4ctx_language_only": (4, 0.0025, 5, towers(0, 4, 0, 12)),
    "VPT/vit_b16_c2_ep5_batch4_4": (4, 0.0025, 5, VPT),
    "CoCoOp/vit_b16_c4_ep10_batch1_ctxv1": (1, 0.002, 10, {"N_CTX": 4, "CTX_INIT": A_PHOTO}),
    "PromptSRC/vit_b16_c2_ep20_batch4_4+4ctx": (4, 0.0025, 20, promptsrc(9, 15, 1)),
    "PromptSRC/vit_b16_c2_ep20_batch4_4+4ctx_cross_datasets": (4, 0.0025, 20, promptsrc(3, 6, 10)),
    "PromptSRC/vit_b16_c2_ep50_batch4_4+4ctx_few_shot": (4, 0.0025, 50, promptsrc(9, 30, 30)),
}
for n in (4, 8, 16):
    PUBLISHED[f"CoCoOp/vit_b16_c{n}_ep10_batch1"] = (1, 0.002, 10, {"N_CTX": n, "CTX_INIT": ""})
KGCOOP = {"N_CTX": 4, "CTX_INIT": A_PHOTO, "CSC": False, "CLASS_TOKEN_POSITION": "end"}
for config in ("vit_b16_ep100_ctxv1", "rn50_ep100"):
    PUBLISHED[f"KgCoOp/{config}"] = (128, 0.002, 100, KGCOOP | {"W": 8.0})
for config, epochs in (("rn50", 200), ("rn50_ep100", 100), ("rn50_ep50", 50)):
    PUBLISHED[f"ProGrad/{config}"] = (32, 0.002, epochs, KGCOOP | {"N_CTX": 16, "CTX_INIT": "True"})
BACKBONES = {"rn50": "RN50", "rn101": "RN101", "vit_b32": "ViT-B/32", "vit_b16": "ViT-B/16"}
for short in BACKBONES:
    for ending, epochs in (("", 200), ("_ep50", 50), ("_ep100", 100)):
        for words, n_ctx, init in (("", 16, ""), ("_ctxv1", 4, A_PHOTO)):
            settings = {"N_CTX": n_ctx, "CTX_INIT": init, "CSC": False, "CLASS_TOKEN_POSITION": "end"}
            PUBLISHED[f"CoOp/{short}{ending}{words}"] = (32, 0.002, epochs, settings)
MMA = {"TEXT_CTX_INIT": A_PHOTO, "ADAPTER_START": 5, "ADAPTER_END": 12, "ADAPTER_DIM": 32}
MMA |= {"ADAPTER_SCALE": 0.001, "PREC": "amp"}
MMRL = {
    "ALPHA": 0.7,
    "REP_LAYERS": [6, 7, 8, 9, 10, 11, 12],
    "REP_DIM": 512,
    "N_REP_TOKENS": 5,
    "PREC": "amp",
}
# name: optimiser, batches of training and test, LR, epochs, warm-up, smallest crop, settings of the method
PUBLISHED_WITH_AMP: dict[str, tuple[Any, ...]] = {
    "MMA/vit_b16_ep5": ("sgd", 16, 100, 0.0015, 5, 0, 0.08, MMA),
    "MMA/vit_b16_ep5_imnet": ("sgd", 128, 100, 0.0015, 5, 0, 0.08, MMA),
    "MMRL/vit_b16": ("adamw", 4, 250, 0.001, 10, 1, 0.5, MMRL | {"REG_WEIGHT": 1.0}),
    "MMRL/vit_b16_imagenet": ("adamw", 32, 250, 0.001, 5, 1, 0.5, MMRL | {"REG_WEIGHT": 1.0}),
    "MMRL/vit_b16_few_shot": ("adamw", 32, 250, 0.001, 50, 1, 0.5, MMRL | {"REG_WEIGHT": 0.5}),
    "MMRL/vit_b16_cross_datasets": ("adamw", 32, 250, 0.001, 1, 0, 0.5, MMRL | {"REG_WEIGHT": 0.2}),
}
ZEROSHOT = BACKBONES | {"vit_l14": "ViT-L/14", "vit_l14_336": "ViT-L/14@336px"}
TINY = {f"{name}/tiny_shapes" for name, method in methods().items() if not method.variant_of}


def load(name: str) -> Any:
    """The config of a run with this file, as train.py makes it."""
    dataset = REPO / "configs/datasets/eurosat.yaml"
    words = ["--trainer", name.split("/")[0], "--config-file", str(CONFIGS[name])]
    words += ["--dataset-config-file", str(dataset)]
    return train.setup_cfg(train.build_parser().parse_args(words))


def learning_rates(cfg: Any) -> list[float]:
    """The rate of each epoch."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=cfg.OPTIM.LR)
    schedule = build_lr_scheduler(optimizer, cfg.OPTIM)
    rates = []
    for _ in range(cfg.OPTIM.MAX_EPOCH):
        rates.append(optimizer.param_groups[0]["lr"])
        schedule.step()
    return rates


def test_the_configs_are_the_published_ones_and_one_a_method_for_shapes() -> None:
    assert CONFIGS.keys() >= PUBLISHED.keys() | PUBLISHED_WITH_AMP.keys() | TINY | {
        f"ZeroshotCLIP/{name}" for name in ZEROSHOT
    }
    assert (len(PUBLISHED), len(ZEROSHOT)) == (43, 6)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name: str) -> None:
    batch, lr, epochs, settings = PUBLISHED[name]
    cfg = load(name)
    node = cfg.TRAINER[methods()[name.split("/")[0]].node]
    assert {key: node[key] for key in settings} == settings
    assert node.PREC == "fp16"
    assert (batch, lr, epochs) == (cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH)
    short = re.split(r"_(?:ep|c\d|ctx)", name.split("/")[1])[0]
    assert BACKBONES.get(short, "ViT-B/16") == cfg.MODEL.BACKBONE.NAME
    optim = cfg.OPTIM
    assert (optim.NAME, optim.MOMENTUM, optim.WEIGHT_DECAY, optim.LR_SCHEDULER) == (
        "sgd",
        0.9,
        5e-4,
        "cosine",
    )
    assert (cfg.DATALOADER.TEST.BATCH_SIZE, cfg.DATALOADER.NUM_WORKERS) == (100, 8)
    assert (tuple(cfg.INPUT.SIZE), cfg.INPUT.INTERPOLATION) == ((224, 224), "bicubic")
    assert tuple(cfg.INPUT.TRANSFORMS) == ("random_resized_crop", "random_flip", "normalize")
    rates = learning_rates(cfg)
    assert rates[:2] == [1e-5, lr]
    assert all(a > b > 0 for a, b in zip(rates[1:-1], rates[2:], strict=True))


@pytest.mark.parametrize("name", PUBLISHED_WITH_AMP)
def test_published_values_with_amp(name: str) -> None:
    *common, settings = PUBLISHED_WITH_AMP[name]
    cfg = load(name)
    node = cfg.TRAINER[methods()[name.split("/")[0]].node]
    assert {key: node[key] for key in settings} == settings
    optim, batches = cfg.OPTIM, (cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.DATALOADER.TEST.BATCH_SIZE)
    crop = cfg.INPUT.RRCROP_SCALE[0]
    assert common == [optim.NAME, *batches, optim.LR, optim.MAX_EPOCH, optim.WARMUP_EPOCH, crop]
    assert learning_rates(cfg)[0] == (1e-5 if optim.WARMUP_EPOCH else optim.LR)


def test_the_learning_rates_of_the_papers_setting() -> None:
    expected = [1e-5, 3.5e-3, 3.166e-3, 2.2908e-3, 1.2092e-3]
    assert learning_rates(load("MPL/vit_b4_c1_add2_rm1")) == pytest.approx(expected, rel=1e-4)


def test_tcp_has_adam_with_a_large_eps_and_fewer_epochs_on_two_datasets() -> None:
    cfg = load("TCP/vit_b16_ep100_ctxv1")
    assert (cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.ADAM_EPS, cfg.OPTIM.MAX_EPOCH) == (
        "adam",
        0.002,
        1e-3,
        50,
    )
    assert (cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.DATALOADER.TEST.BATCH_SIZE) == (32, 500)
    assert (cfg.TRAINER.TCP.W, cfg.TRAINER.TCP.LAYER, cfg.TRAINER.COOP.N_CTX) == (8.0, 8, 4)
    for dataset in ("imagenet", "sun397"):
        assert methods()["TCP"].choose("base2new", dataset, 16)[1] == {"OPTIM.MAX_EPOCH": "25"}


@pytest.mark.parametrize("name", ZEROSHOT)
def test_zero_shot_configs_have_their_backbones_and_sizes(name: str) -> None:
    cfg = load(f"ZeroshotCLIP/{name}")
    assert ZEROSHOT[name] == cfg.MODEL.BACKBONE.NAME
    side = published_models()[ZEROSHOT[name]].config.image_size
    assert tuple(cfg.INPUT.SIZE) == (side, side)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_is_used(name: str) -> None:
    """It loads, says how it is run, and sets its own method alone; its method's protocols name it."""
    method, config = name.split("/")
    cfg = load(name)
    assert cfg.INPUT.PIXEL_MEAN == [0.48145466, 0.4578275, 0.40821073]
    assert cfg.INPUT.PIXEL_STD == [0.26862954, 0.26130258, 0.27577711]
    if config == "tiny_shapes":
        assert (cfg.MODEL.BACKBONE.NAME, tuple(cfg.INPUT.SIZE)) == ("Tiny-Shapes", (64, 64))
    else:
        protocols = (REPO / f"configs/protocols/{method}.yaml").read_text(encoding="utf-8")
        assert config in re.findall(r"[\w+]+", protocols)
    text = CONFIGS[name].read_text(encoding="utf-8")
    assert text.startswith("# Command:  ") and "\n# Hardware: " in text
    for script in re.findall(r"bash (scripts/\S+\.sh)", text):
        assert (REPO / script).is_file() and script.split("/")[1] == methods()[method].scripts


def test_protocols_name_configs_that_exist() -> None:
    for method in methods().values():
        for protocol in ("base2new", "xd", "few_shot", "default"):
            for dataset in (*ELEVEN, "shapes"):
                for shots in FEW_SHOTS:
                    assert f"{method.configs.name}/{method.choose(protocol, dataset, shots)[0]}" in CONFIGS
