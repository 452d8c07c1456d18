#!/usr/bin/env python3
"""Time the published way of computing against ours, on the same weights, in turn, in one process.

    python tools/benchmark.py --classes 5,50,250                  # CPU, float32
    python tools/benchmark.py --device cuda --classes 5,50,500    # GPU, float16 as published
    python tools/benchmark.py --method MPL,MaPLe,CoOp,CoCoOp --json docs/benchmark.json

Weights and pictures are random: they do not change the time. For each number of classes: seconds of a training step (of the published batch), pictures a
second in an evaluation (batches of 100; ours encodes the class prompts once for a test set, whose size is --test-pictures), peak memory of a training
step, and the largest difference of the two sides' logits. Ours is also timed with each of its savings switched off by itself; what its absence costs is
what it gives. On a GPU, ours is timed with its step recorded as a CUDA graph too (SPEED.RECORD_STEPS), whose memory is not told apart.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from clip.config import CLIPConfig
from clip.fast import FastPaths
from clip.model import CLIP
from clip.tokenizer import WORD_END, default_tokenizer
from clip.weights import published_models
from dassl.utils.files import write_json
from dassl.utils.seeding import make_deterministic
from tools.arguments import names, new_file, number, numbers, seen_device
from tools.published_way import PublishedWay
from trainers.cocoop import ConditionallyPromptedCLIP, ConditionalWords
from trainers.coop import ContextWords
from trainers.graphs import N_CHECKED, ComputeGradients, RecordedGradients
from trainers.maple import MaPLePrompts
from trainers.mpl import MPLPrompts, MPLSchedules
from trainers.precision import PRECISIONS, choose_precision
from trainers.prompted_clip import PromptedCLIP
from trainers.prompts import PromptLearner

TRAIN_BATCHES = {"MPL": 4, "MaPLe": 4, "CoOp": 32, "CoCoOp": 1}  # of the published configs
TEST_BATCH = 100  # of every published config
COCOOP_TEST_BATCH = 4  # CoCoOp encodes the class prompts once a picture, so that the time of a picture does not depend on the batch
VARIANTS = {  # ours, and what it is with one saving switched off; a packed text is trimmed by being packed, so that trimming shows without packing
    "ours": FastPaths(),
    "ours, all positions of every class": FastPaths(trim_text=False, pack_text=False),
    "ours, classes not packed": FastPaths(pack_text=False),
    "ours, last block whole": FastPaths(read_one_token=False),
}

ALL_POSITIONS = ("published", "ours, all positions of every class")
"""Sides whose training step keeps all positions of every class in memory."""
RECORDED = "ours, step recorded"


def class_names(n_classes: int) -> list[str]:
    """Names of one to three English words, as long as those of the benchmarks' classes; the same for every call."""
    tokenizer = default_tokenizer()
    words = (tokenizer.decode([i]).strip() for i in range(2000, 12000) if tokenizer._token_of[i].endswith(WORD_END))
    vocabulary = [w for w in words if w.isalpha() and w.isascii() and len(w) > 2]
    rng = random.Random(0)
    return [" ".join(rng.sample(vocabulary, rng.choice((1, 1, 2, 2, 3)))) for _ in range(n_classes)]


def build_learner(method: str, clip: CLIP, names: list[str], n_ctx: int = 1, depth: int = 9) -> PromptLearner:
    """The learned part of a method with its paper's settings; ``n_ctx`` and ``depth`` are MPL's."""
    layers = clip.config.text_layers, clip.config.vision_layers
    if method == "MPL":
        return MPLPrompts(clip, names, "a photo of a", MPLSchedules(n_ctx, min(depth, *layers), *layers, n_add=2, n_remove=1))
    if method == "MaPLe":
        return MaPLePrompts(clip, names, 2, "a photo of a", min(9, *layers))
    if method == "CoCoOp":
        return ConditionalWords(clip, names, 4, "a photo of a")
    return ContextWords(clip, names, 16)


class Variant:
    """Ours with some savings switched off, with the prompts of ``like``.

    Args:
        method: its name.
        clip: the frozen CLIP, which all variants share.
        names: C class names.
        fast: the savings that are made.
        like: the learner whose values are taken; None keeps those drawn.
        prec: as the setting PREC; as published by default, which is fp16 on a GPU, and fp32 on a CPU, which computes no fp16.
        settings: of :func:`build_learner`.
    """

    def __init__(
        self, method: str, clip: CLIP, names: list[str], fast: FastPaths, like: PromptLearner | None = None, prec: str = "", **settings: int
    ) -> None:
        self.clip, self.fast = clip.set_fast_paths(fast), fast
        device = clip.token_embedding.weight.device
        self.learner = build_learner(method, clip, names, **settings).to(device)
        if like is not None:
            self.learner.load_state_dict(like.state_dict())
        precision = choose_precision(prec or ("fp16" if device.type == "cuda" else "fp32"), device)
        self.model = (ConditionallyPromptedCLIP if method == "CoCoOp" else PromptedCLIP)(clip, self.learner, precision).to(device)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``[B, C]`` of ``images`` ``[B, 3, R, R]``."""
        self.clip.set_fast_paths(self.fast)
        return self.model(images)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine_of(device: torch.device) -> dict[str, str]:
    """What times depend on, for people to read: the processor, and the versions."""
    is_gpu = device.type == "cuda"
    machine = torch.cuda.get_device_name(device) if is_gpu else f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    return {"machine": machine, "torch": f"torch {torch.__version__}", "python": f"Python {platform.python_version()}"}


def seconds_in_turn(sides: dict[str, Callable[[], Any]], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each side; after one warm-up the sides run in turn, so that a drifting machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, run in sides.items():
            synchronise(device)
            start = time.perf_counter()
            run()
            synchronise(device)
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def peak_bytes(run: Callable[[], Any], device: torch.device) -> int | None:
    """Peak memory while ``run`` runs: allocated on a GPU; of the whole process on a CPU (Linux alone; None elsewhere)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device)
    try:
        ctypes.CDLL(None).malloc_trim(0)  # gives back what earlier runs freed, so that it does not count for this one
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        run()
        status = Path("/proc/self/status").read_text()
    except (OSError, AttributeError):  # no Linux, or a C library without malloc_trim
        return None
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def training_step(logits_of: Callable[[Tensor], Tensor], learner: PromptLearner, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """A step of SGD on the learned parameters."""
    return _step(images, labels, *_gradients(logits_of, learner))


def recorded_step(
    logits_of: Callable[[Tensor], Tensor], learner: PromptLearner, images: Tensor, labels: Tensor
) -> dict[str, Callable[[], None]]:
    """The same step recorded as a CUDA graph, the launches that are held against plain steps behind it; nothing where it could not be recorded."""
    compute, optimiser = _gradients(logits_of, learner)
    gradients = RecordedGradients(compute, list(learner.parameters()))
    for _ in range(N_CHECKED + 1):
        gradients(images, labels)
    return {RECORDED: _step(images, labels, gradients, optimiser)} if gradients.is_recorded else {}


def _gradients(logits_of: Callable[[Tensor], Tensor], learner: PromptLearner) -> tuple[ComputeGradients, torch.optim.Optimizer]:
    optimiser = torch.optim.SGD(learner.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4)

    def compute(images: Tensor, labels: Tensor) -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(logits_of(images).float(), labels)
        loss.backward()
        return loss.detach()

    return compute, optimiser


def _step(images: Tensor, labels: Tensor, gradients: ComputeGradients, optimiser: torch.optim.Optimizer) -> Callable[[], None]:
    def step() -> None:
        gradients(images, labels)
        optimiser.step()

    return step


def peak_of_a_step(method: str, config: CLIPConfig, n_classes: int, side: str, prec: str = "") -> int | None:
    """Peak memory of a CPU's training step of one side; to be called in a process that has done nothing else, so that nothing is counted but the step.

    The second step is taken, when the optimiser has its momentum.
    """
    torch.manual_seed(0)
    variant = Variant(method, CLIP(config), class_names(n_classes), VARIANTS.get(side, FastPaths()), prec=prec)
    images = torch.randn(TRAIN_BATCHES[method], 3, config.image_size, config.image_size)
    logits_of = PublishedWay(variant.model) if side == "published" else variant
    step = training_step(logits_of, variant.learner, images, torch.arange(len(images)) % n_classes)
    step()
    return peak_bytes(step, torch.device("cpu"))


def peaks(
    method: str, clip: CLIP, n_classes: int, steps: dict[str, Callable[[], None]], device: torch.device, prec: str = ""
) -> dict[str, int | None]:
    """Peak memory of a step of each side, of a CPU in a new process for each."""
    if device.type == "cuda":
        return {name: peak_bytes(step, device) for name, step in steps.items()}
    found = {}
    for name in steps:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found[name] = pool.submit(peak_of_a_step, method, clip.config, n_classes, name, prec).result()
    return found


def measure(method: str, clip: CLIP, n_classes: int, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """All figures of one method at one number of classes."""
    names = class_names(n_classes)
    ours = Variant(method, clip, names, FastPaths(), prec=args.prec)
    size, n_train = clip.config.image_size, TRAIN_BATCHES[method]
    few = torch.randn(n_train, 3, size, size, device=device)
    labels = torch.arange(n_train, device=device) % n_classes
    with torch.no_grad():
        difference = (PublishedWay(ours.model)(few).float() - ours(few)).abs().max().item()
    row: dict[str, Any] = {"method": method, "classes": n_classes, "batch": n_train, "prec": ours.model.precision.name}
    row["largest_logit_difference"] = difference
    sides: dict[str, tuple[Callable[[Tensor], Tensor], PromptLearner]] = {"published": (PublishedWay(ours.model), ours.learner)}
    for name, fast in VARIANTS.items():
        variant = ours if name == "ours" else Variant(method, clip, names, fast, ours.learner, args.prec)
        sides[name] = (variant, variant.learner)
    steps = {name: training_step(side, learner, few, labels) for name, (side, learner) in sides.items()}
    if args.skip_published_above and n_classes > args.skip_published_above:
        for name in ALL_POSITIONS:
            del steps[name]
    recorded = recorded_step(ours, ours.learner, few, labels) if device.type == "cuda" else {}
    row["step_seconds"] = seconds_in_turn({**steps, **recorded}, args.repeats, device)
    row["step_peak_bytes"] = {} if args.no_memory else peaks(method, clip, n_classes, steps, device, args.prec)
    row["eval_pictures_per_second"] = evaluation(method, ours, {n: s for n, (s, _) in sides.items()}, args, device)
    return row


@torch.no_grad()
def evaluation(
    method: str, ours: Variant, sides: dict[str, Callable[[Tensor], Tensor]], args: argparse.Namespace, device: torch.device
) -> dict[str, float]:
    """Pictures a second of each side; ours encodes the class prompts once for a test set, and again for each batch where that saving is off."""
    size, n_pictures = ours.clip.config.image_size, COCOOP_TEST_BATCH if method == "CoCoOp" else TEST_BATCH
    images = torch.randn(n_pictures, 3, size, size, device=device)
    repeats = max(1, args.repeats // 2)
    seconds = seconds_in_turn({name: lambda side=side: side(images) for name, side in sides.items()}, repeats, device)
    speed = {name: n_pictures / t for name, t in seconds.items()}
    if method == "CoCoOp":
        return speed
    ours.clip.set_fast_paths(ours.fast)
    features = ours.model.text_features()
    parts = {"batch": lambda: ours.model.logits(ours.model.image_features(images), features), "text": ours.model.text_features}
    seconds = seconds_in_turn(parts, repeats, device)
    n_batches = args.test_pictures / n_pictures
    speed["ours, text encoded for each batch"] = speed.pop("ours")
    return {"ours": args.test_pictures / (n_batches * seconds["batch"] + seconds["text"]), **speed}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table: a line a side, with its ratio to the published way."""
    lines = ["| method | classes | side | step | faster | peak memory | share | evaluation | faster |", "|" + "---|" * 9]
    for row in rows:
        step, memory, pictures = row["step_seconds"], row["step_peak_bytes"], row["eval_pictures_per_second"]
        for side in dict.fromkeys([*step, *pictures]):
            cells = [row["method"], str(row["classes"]), side]
            cells += [f"{step[side]:.3f} s" if side in step else "", ratio(step.get("published"), step.get(side))]
            cells += [f"{memory[side] / 2**30:.2f} GiB" if memory.get(side) else "", ratio(memory.get(side), memory.get("published"), "")]
            cells += [f"{pictures[side]:.1f} /s" if side in pictures else "", ratio(pictures.get(side), pictures.get("published"))]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratio(part: float | None, whole: float | None, unit: str = "x") -> str:
    """``part / whole``; empty where one is missing."""
    return f"{part / whole:.2f}{unit}" if part and whole else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the arguments ask for, print the table, and keep the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", type=seen_device, default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--classes", type=numbers(), default="5,50,250", help="numbers of classes, separated by commas")
    parser.add_argument("--backbone", default="ViT-B/16", choices=[n for n, m in published_models().items() if m.config.has_vit])
    parser.add_argument("--method", type=names(TRAIN_BATCHES), default="MPL", help="MPL, MaPLe, CoOp, CoCoOp; separated by commas")
    parser.add_argument(
        "--prec", default="", choices=("", *PRECISIONS), help="what the towers of both sides compute in; fp16 on a GPU, fp32 on a CPU"
    )
    parser.add_argument("--repeats", type=number(), default=5, help="timed runs of each side")
    parser.add_argument("--test-pictures", type=number(), default=4200, help="pictures of a test set (EuroSAT's base half by default)")
    parser.add_argument(
        "--skip-published-above",
        type=number(0),
        default=0,
        help="number of classes above which no training step is taken that keeps all positions of every class in memory",
    )
    parser.add_argument("--no-memory", action="store_true", help="leave out the memory, for which a CPU's steps are taken again")
    parser.add_argument("--deterministic", action="store_true", help="compute as the setting DETERMINISTIC True does, to see what it costs")
    parser.add_argument("--json", type=new_file, help="file for the figures")
    args = parser.parse_args(argv)
    if args.deterministic:
        make_deterministic()
    device = torch.device(args.device)
    torch.manual_seed(0)
    clip = CLIP(published_models()[args.backbone].config).to(device)
    machine = machine_of(device)
    print(f"{args.backbone}, {', '.join(machine.values())}, median of {args.repeats}", flush=True)
    rows = []
    for method in args.method:
        for n_classes in args.classes:
            rows.append(measure(method, clip, n_classes, args, device))
            print(json.dumps(rows[-1]), flush=True)
    print(table(rows))
    if args.json:
        write_json({"backbone": args.backbone, **machine, "rows": rows}, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
