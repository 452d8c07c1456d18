"""Times a training step and a test of ours against the published way, with the same weights, in turn."""

from __future__ import annotations

import argparse
import copy
import ctypes
import math
import platform
import random
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

import train
from benchmarks.published_way import published_way
from clip import CLIP, load
from clip.tokenizer import default_tokenizer
from clip.weights import published_models
from dassl.engine import TRAINER_REGISTRY
from dassl.optim import build_optimizer
from experiments.facts import REPO, methods
from trainers.graphs import graphed_loss
from trainers.learned import LearnedParameters
from trainers.precision import choose_precision
from trainers.prompted_clip import PromptedCLIP

COCOOP_TEST_BATCH = 4  # CoCoOp encodes the class prompts once an image: an image takes as long in any batch


def class_names(n_classes: int) -> list[str]:
    """Names of one to three English words, about as long as the benchmarks' class names."""
    tokenizer = default_tokenizer()
    words = [tokenizer.decode([i]).strip() for i in range(2000, 12000)]
    vocabulary = [word for word in words if word.isalpha() and word.isascii() and len(word) > 2]
    rng = random.Random(0)
    return [" ".join(rng.sample(vocabulary, rng.choice((1, 1, 2, 2, 3)))) for _ in range(n_classes)]


def build_trainer(method: str, clip: CLIP, n_classes: int, prec: str, *settings: Any) -> Any:
    """A trainer without data, with the method's published settings of base-to-new and random prompts.

    Args:
        settings: KEY VALUE pairs that replace published settings.
    """
    name, pairs = methods()[method].choose("base2new", "caltech101", shots=16)
    config = REPO / "configs/trainers" / method / f"{name}.yaml"
    words = ["--trainer", method, "--config-file", str(config), "DATASET.SUBSAMPLE_CLASSES", "base"]
    words += ["OPTIM.LR", "1e-6"]
    words += [word for pair in pairs.items() for word in pair] + list(map(str, settings))
    cfg = train.setup_cfg(train.build_parser().parse_args(words))
    cfg.defrost()
    cfg.TRAINER.CoPrompt.SENTENCES = "templates"  # there are no sentences about these classes
    kind = TRAINER_REGISTRY.get(method).chosen(cfg)
    trainer = kind.__new__(kind)
    trainer.cfg, trainer.device = cfg, clip.logit_scale.device
    trainer._models, trainer._optims, trainer._scheds = {}, {}, {}
    trainer.batch_idx, trainer.num_batches, trainer._first_bad_batch = 0, 0, None
    names = class_names(n_classes)
    trainer.dm = SimpleNamespace(dataset=SimpleNamespace(classnames=names))
    learner = trainer.build_prompt_learner(cfg, clip, names)
    precision = choose_precision(prec, trainer.device)
    trainer.model = trainer.model_class(clip, learner, precision).to(trainer.device)
    trainer.learned = LearnedParameters(trainer.model, method)
    trainer.optim = build_optimizer(trainer.learned, cfg.OPTIM, trainer.param_groups())
    trainer.register_model("learned", trainer.learned, trainer.optim)
    trainer.scaler = torch.amp.GradScaler(trainer.device.type) if precision.scales_loss else None
    return trainer


def published_side(trainer: Any) -> Any:
    """A trainer of the same parameters whose model computes the published way."""
    other = copy.copy(trainer)
    other.model = published_way(trainer.model)
    return other


def random_batch(clip: CLIP, n_images: int, n_classes: int) -> tuple[Tensor, Tensor]:
    """Images [B, 3, R, R] and labels [B]."""
    size, device = clip.config.image_size, clip.logit_scale.device
    labels = torch.arange(n_images, device=device) % n_classes
    return torch.randn(n_images, 3, size, size, device=device), labels


def training_step(trainer: Any, images: Tensor, labels: Tensor) -> Callable[[], Any]:
    """A step of the trainer; where its method takes a second view of each image, that is the same."""
    n_views = trainer.cfg.DATALOADER.K_TRANSFORMS
    batch = {"img": [images] * n_views if n_views > 1 else images, "label": labels}
    return lambda: trainer.forward_backward(batch)


def seconds_in_turn(sides: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each side; they run in turn, so that a slower moment of the machine meets all."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):  # the first is a warm-up
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def peak_bytes(run: Callable[[], Any], device: torch.device) -> int:
    """Peak memory while `run` runs: allocated on a GPU, of the whole process on a CPU (Linux alone)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device)
    ctypes.CDLL(None).malloc_trim(0)  # what earlier runs freed does not count
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    run()
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def measure(method: str, clip: CLIP, n_classes: int, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds and peak bytes of a step, test images a second, and the largest difference of the logits."""
    trainer = build_trainer(method, clip, n_classes, args.prec, *args.pairs)
    sides = {"published": published_side(trainer), "ours": trainer}
    model, published = trainer.model, sides["published"].model
    images, labels = random_batch(clip, trainer.cfg.DATALOADER.TRAIN_X.BATCH_SIZE, n_classes)
    with torch.no_grad():
        difference = (published(images) - model(images)).abs().max().item()
    if n_classes > args.published_up_to:
        del sides["published"]
    steps = {name: training_step(side, images, labels) for name, side in sides.items()}
    peaks = {}
    for name, step in steps.items():
        step()  # after it, the optimiser has its momentum
        peaks[name] = peak_bytes(step, torch.device(args.device))
    if args.device == "cuda" and vars(type(trainer)).get("has_static_step"):  # as the trainer steps there
        steps["plain"] = steps["ours"]
        graphed = copy.copy(trainer)
        views = images.repeat(trainer.cfg.DATALOADER.K_TRANSFORMS, 1, 1, 1)
        graphed._graphed_loss = graphed_loss(trainer.loss, model, views, labels)
        steps["ours"] = training_step(graphed, images, labels)
    return {
        "method": method,
        "classes": n_classes,
        "batch": len(images),
        "logit_difference": difference,
        "step_seconds": seconds_in_turn(steps, args.repeats),
        "step_peak_bytes": peaks,
        "test_images_per_second": test_speed(method, model, published, args),
    }


@torch.no_grad()
def test_speed(
    method: str, model: PromptedCLIP, published: PromptedCLIP, args: argparse.Namespace
) -> dict[str, float]:
    """Test images a second; ours encodes the class prompts once, the published way once a batch."""
    n_images = COCOOP_TEST_BATCH if method == "CoCoOp" else 100  # 100 in every published config
    images, _ = random_batch(model.clip, n_images, n_images)
    if method == "CoCoOp":
        seconds = seconds_in_turn({"published": lambda: published(images), "ours": lambda: model(images)}, 1)
        return {name: n_images / value for name, value in seconds.items()}
    features = model.text_features()
    parts = {
        "published": lambda: published(images),
        "ours": lambda: model.logits(model.image_features(images), features),
        "text": model.text_features,
    }
    seconds = seconds_in_turn(parts, max(1, args.repeats // 2))
    n_batches = args.test_images / n_images
    whole_test = n_batches * seconds["ours"] + seconds["text"]
    return {"published": n_images / seconds["published"], "ours": args.test_images / whole_test}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table; "plain" is a step without CUDA graphs, where ours takes them."""
    titles = ["method", "classes", "step: published", "plain", "ours", "faster"]
    titles += ["memory: published", "ours", "share", "test: published", "ours", "faster"]
    lines = [titles, ["---"] * len(titles)]
    for row in rows:
        seconds, peaks = ({"published": math.nan, **row[key]} for key in ("step_seconds", "step_peak_bytes"))
        speeds = row["test_images_per_second"]
        cells = [row["method"], f"{row['classes']}"]
        cells += [f"{seconds.get(side, math.nan):.3g} s" for side in ("published", "plain", "ours")]
        cells += [f"{seconds['published'] / seconds['ours']:.2f}x"]
        cells += [f"{peaks[side] / 2**30:.2f} GiB" for side in ("published", "ours")]
        cells += [f"{peaks['ours'] / peaks['published']:.2f}"]
        cells += [f"{speeds[side]:.1f} /s" for side in ("published", "ours")]
        lines.append([*cells, f"{speeds['ours'] / speeds['published']:.2f}x"])
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return re.sub(r"\bnan(x| s| GiB)?", "", text)  # what was not measured


def random_clip(backbone: str, device: str) -> CLIP:
    """A CLIP of a known name's sizes with random weights."""
    published = published_models().get(backbone)
    config = published.config if published else load(backbone).config
    torch.manual_seed(0)
    return CLIP(config).to(device)


def machine(device: str) -> str:
    """What times depend on: processor and versions."""
    cpu = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name() if device == "cuda" else cpu
    return f"{name}, torch {torch.__version__}, Python {platform.python_version()}"


def run(args: argparse.Namespace) -> None:
    """Measure, and print a line of figures each time and the table at the end."""
    clip = random_clip(args.backbone, args.device)
    print(f"{args.backbone}, {args.prec}, {machine(args.device)}, median of {args.repeats}")
    rows = []
    for method in args.method:
        for n_classes in args.classes:
            rows.append(measure(method, clip, n_classes, args))
            print(rows[-1], flush=True)
    print(table(rows))
