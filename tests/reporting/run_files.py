"""Writes folders of runs as train.py leaves them, with figures that a test knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reporting import published

DEVICE, COMMIT = "Tesla T4", "0123456789abcdef0123456789abcdef01234567"
MODEL = {"MPL": "MultiModalPromptLearner", "MaPLe": "MultiModalPromptLearner", "CoOp": "prompt_learner", "CoCoOp": "prompt_learner"}


def config(method: str, run_dir: Path, settings: dict[str, Any] | None = None, epochs: int = 5) -> dict[str, Any]:
    """A config tree of the shape that runs record, with the method's own node and another method's."""
    own = {"PREC": "fp16", **(settings or {})}
    return {
        "OUTPUT_DIR": str(run_dir),
        "OPTIM": {"MAX_EPOCH": epochs, "LR": 0.002},
        "DATALOADER": {"NUM_WORKERS": 8},
        "TRAINER": {"NAME": method, method.upper(): own, "OTHER": {"N_CTX": 3}},
    }


def write_run(run_dir: Path, method: str, dataset: str, accuracy: float | None, **given: Any) -> Path:
    """A finished run in `run_dir`; `given` overrides entries of result.json, and `settings`, `epochs` those of its config."""
    settings, epochs = given.pop("settings", None), given.pop("epochs", 5)
    result = {
        "finished": True, "trainer": method, "backbone": "ViT-B/16", "dataset": dataset, "subsample": "all", "shots": 16, "seed": 1,
        "split": "test", "accuracy": accuracy, "started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T01:00:00+00:00", "data": None,
        "train_seconds": None, "test_seconds": 2.0, "loaded_from": {}, "device": DEVICE, "commit": COMMIT,
        "versions": {"torch": "2.6.0"}, "config": config(method, run_dir, settings, epochs),
    }  # fmt: skip
    result.update(given)
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "result.json").write_text(json.dumps(result))
    return run_dir


def checkpoint_of(train_dir: Path, method: str) -> dict[str, str]:
    """`loaded_from` of a test of the training in `train_dir`."""
    model = MODEL.get(method, "prompt_learner")
    return {model: str(train_dir / model / "model.pth.tar-5")}


def write_base2new(root: Path, method: str, dataset: str, seed: int, base: float | None, new: float | None, **given: Any) -> None:
    """Both runs of one seed, or one of them where a figure is None; zero-shot runs have neither seeds nor training."""
    is_trained = method != "ZeroshotCLIP"
    point = "".join(f"{k}{v}" for k, v in (given.get("settings") or {}).items())
    train_dir = root / "train_base" / dataset / f"{method}{point}" / f"seed{seed}"
    test_dir = root / "test_new" / dataset / f"{method}{point}" / f"seed{seed}"
    common = {"seed": seed, "shots": 16 if is_trained else -1, **given}
    seconds = common.pop("train_seconds", 60.0 * seed)
    if base is not None:
        write_run(train_dir, method, dataset, base, subsample="base", train_seconds=seconds if is_trained else None, **common)
    if new is not None:
        loaded = checkpoint_of(train_dir, method) if is_trained else {}
        write_run(test_dir, method, dataset, new, subsample="new", loaded_from=loaded, **common)


def write_published_base2new(root: Path, methods: tuple[str, ...]) -> None:
    """The published per-dataset figures as runs of three seeds, spread by 0.3 around them; one run where nothing is trained."""
    for method in methods:
        figures = published.published()["base_to_new"][method]
        for dataset in published.BENCHMARK:
            base, new = figures[dataset]["base"], figures[dataset]["new"]
            for seed in (1, 2, 3) if method != "ZeroshotCLIP" else (1,):
                shift = 0.3 * (seed - 2) if method != "ZeroshotCLIP" else 0
                write_base2new(root, method, dataset, seed, base + shift, new + shift)


def write_metrics(run_dir: Path, losses: list[float], rates: list[float], lines_an_epoch: int = 2) -> None:
    """metrics.jsonl of a training: the loss of each epoch is the running mean of its last line."""
    lines = []
    for epoch, (loss, rate) in enumerate(zip(losses, rates, strict=True), 1):
        for i in range(1, lines_an_epoch + 1):
            lines.append({
                "epoch": epoch, "max_epoch": len(losses), "batch": 10 * i, "num_batches": 10 * lines_an_epoch,
                "step": 10 * i + (epoch - 1) * 10 * lines_an_epoch, "loss": 99.0, "loss_avg": loss if i == lines_an_epoch else 50.0, "lr": rate,
            })  # fmt: skip
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"epoch": 9, "st')
