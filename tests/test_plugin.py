"""clip/, trainers/ and configs/ can be lifted into a checkout with the published Dassl: what they use of Dassl is what that one has."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from yacs.config import CfgNode

import trainers
from clip import CLIP, CLIPConfig

REPO = Path(__file__).parents[1]
PUBLISHED_NAMES = {  # module -> names that the published Dassl (of October 2022) exports there
    "dassl.engine": {"TRAINER_REGISTRY", "TrainerX", "TrainerXU", "TrainerBase", "SimpleTrainer", "SimpleNet", "build_trainer"},
    "dassl.optim": {"build_optimizer", "build_lr_scheduler"},
    "dassl.metrics": {"compute_accuracy"},
    "dassl.utils": {
        "load_checkpoint",
        "load_pretrained_weights",
        "count_num_param",
        "mkdir_if_missing",
        "read_json",
        "write_json",
        "read_image",
        "listdir_nohidden",
        "check_isfile",
        "tolist_if_not",
    },
    "dassl.data": {"DataManager"},
    "dassl.data.datasets": {"DATASET_REGISTRY", "Datum", "DatasetBase", "build_dataset"},
    "dassl.data.data_manager": {"DatasetWrapper", "build_data_loader"},
    "dassl.data.transforms": {"build_transform", "INTERPOLATION_MODES"},
}
OF_THIS_ENGINE = {  # file -> what it takes besides; the readers stay on this engine, and docs/PLUGIN.md lifts trainers alone
    "datasets/images.py": {"dassl.utils.images": {"why_unreadable"}},  # a picture that is checked is read as it is loaded
}
PUBLISHED_TRAINER = {  # what the published TrainerX gives to `self`
    "cfg", "device", "dm", "num_classes", "lab2cname", "num_batches", "batch_idx", "epoch", "max_epoch", "start_epoch", "train_loader_x", "test_loader",
    "val_loader", "output_dir", "register_model", "get_model_names", "model_backward_and_update", "model_zero_grad", "model_backward", "model_update",
    "detect_anomaly", "update_lr", "get_current_lr", "test", "train", "save_model", "load_model", "resume_model_if_exist", "write_scalar", "set_model_mode",
    "model_inference", "parse_batch_train", "parse_batch_test", "_models", "_optims", "_scheds", "evaluator", "time_start", "best_result", "run_epoch",
    "before_train", "before_epoch", "after_epoch", "after_train", "forward_backward", "build_model", "build_data_loader", "check_cfg",
}  # fmt: skip


def sources(folder: str) -> list[Path]:
    return sorted((REPO / folder).glob("*.py"))


@pytest.mark.parametrize("path", sources("trainers") + sources("datasets"), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_imports_of_dassl_are_published_names(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dassl":
            published = PUBLISHED_NAMES | OF_THIS_ENGINE.get(f"{path.parent.name}/{path.name}", {})
            assert node.module in published, f"{path.name} imports {node.module}"
            assert {alias.name for alias in node.names} <= published[node.module]
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "dassl" for alias in node.names)


def test_there_are_sources() -> None:
    assert len(sources("trainers")) > 8
    assert len(sources("datasets")) > 15


@pytest.mark.parametrize("path", sources("trainers"), ids=lambda p: p.name)
def test_trainers_use_of_self_only_what_they_set_or_the_published_trainer_gives(path: Path) -> None:
    own: set[str] = set()
    used: set[str] = set()
    for file in sources("trainers"):  # a base class in another file may give it
        for cls in (n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ClassDef)):
            own |= {n.name for n in cls.body if isinstance(n, ast.FunctionDef)}
            own |= {t.id for n in cls.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
            own |= {n.target.id for n in cls.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
            for n in ast.walk(cls):
                if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "self":
                    if isinstance(n.ctx, ast.Store):
                        own.add(n.attr)
                    elif file == path and any("Trainer" in ast.unparse(b) or ast.unparse(b) in TRAINER_CLASSES for b in cls.bases):
                        used.add(n.attr)
    assert used <= own | PUBLISHED_TRAINER, used - own - PUBLISHED_TRAINER


TRAINER_CLASSES = {"ZeroshotCLIP", "IVLP", "CoOp", "MaPLe"}


@pytest.mark.parametrize("path", sources("clip"), ids=lambda p: p.name)
def test_clip_knows_neither_dassl_nor_methods(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            assert (node.module or "").split(".")[0] not in ("dassl", "trainers", "datasets", "train")
    words = path.read_text().lower()
    assert not any(name in words for name in ("maple", "cocoop", "ivlp", "zeroshotclip", "promptsrc"))


@pytest.mark.parametrize("path", sorted((REPO / "dassl").rglob("*.py")), ids=lambda p: str(p.relative_to(REPO)))
def test_the_engine_knows_neither_clip_nor_methods(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        modules = (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        assert not any(m.split(".")[0] in ("clip", "trainers", "datasets", "train") for m in modules if not getattr(node, "level", 0))


def test_settings_are_declared_on_a_plain_yacs_tree() -> None:
    """The published Dassl's config is yacs' own node."""
    cfg = CfgNode({"DATASET": CfgNode({"NAME": ""}), "TRAINER": CfgNode({"NAME": ""})})
    trainers.extend_cfg(cfg)
    cfg.merge_from_list(["TRAINER.MPL.N_CTX", "1", "TRAINER.MPL.TEXT_N_ADD_OP", "[1, 2]", "TRAINER.COOP.CSC", "True"])
    assert (cfg.TRAINER.MPL.N_CTX, cfg.TRAINER.MPL.TEXT_N_ADD_OP, cfg.TRAINER.COOP.CSC) == (1, [1, 2], True)


WORLD = Path(__file__).parent / "plugin_world"
METHOD_CONFIGS = {  # the settings of each method in the published engine's checkout
    "MPL": "MPL/vit_b4_c1_add2_rm1.yaml",
    "MaPLe": "MaPLe/vit_b16_c2_ep5_batch4_2ctx.yaml",
    "IVLP": "IVLP/vit_b16_c2_ep5_batch4_2+2ctx.yaml",
    "VPT": "VPT/vit_b16_c2_ep5_batch4_4.yaml",
    "CoOp": "CoOp/vit_b16.yaml",
    "CoCoOp": "CoCoOp/vit_b16_c4_ep10_batch1_ctxv1.yaml",
    "PromptSRC": "PromptSRC/vit_b16_c2_ep20_batch4_4+4ctx.yaml",
    "ZeroshotCLIP": "ZeroshotCLIP/vit_b16.yaml",
    "ZeroshotCLIP2": "ZeroshotCLIP/vit_b16.yaml",
}


def checkout(world: str, folder: Path, *taken: str) -> Path:
    """A copy of the stand-in checkout ``world`` in ``folder``, with this project's folders ``taken`` beside its own."""
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(WORLD / world, folder, ignore=no_caches)
    for name in taken:
        shutil.copytree(REPO / name, folder / name, ignore=no_caches)
    return folder


def run_in(folder: Path, *words: str | Path) -> str:
    """What ``python train.py WORDS`` prints in ``folder``, where nothing of this project is on the path but what was copied there."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run([sys.executable, "train.py", *map(str, words)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def seen_on_published_engine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What every method did beside the stand-in of the published engine."""
    folder = checkout("published_engine", tmp_path_factory.mktemp("published") / "checkout", "clip", "trainers", "configs")
    torch.manual_seed(0)
    torch.save(CLIP(CLIPConfig(32, 32, 4, 64, 16, 32, 49408, 64, 3)).state_dict(), folder / "small.pt")
    printed = run_in(folder, "small.pt", "output", *(f"{method}=configs/trainers/{path}" for method, path in METHOD_CONFIGS.items()))
    return json.loads(printed.splitlines()[-1])


@pytest.mark.parametrize("method", [m for m in METHOD_CONFIGS if not m.startswith("ZeroshotCLIP")])
def test_a_method_trains_resumes_and_reloads_on_the_published_engine(method: str, seen_on_published_engine: dict) -> None:
    seen = seen_on_published_engine[method]
    assert seen["n_arrays"] > 0
    assert len(seen["moved"]) == seen["n_arrays"], "each learned array moves in the first two steps"
    assert seen["start_epoch"] == 1, "the second run goes on from the first"
    assert seen["moved_on"], "and trains on"
    assert seen["logits_changed"]
    assert seen["same_accuracy"] and seen["same_logits"], "a third run reads the second's checkpoint"


@pytest.mark.parametrize("method", ["ZeroshotCLIP", "ZeroshotCLIP2"])
def test_zero_shot_clip_is_tested_on_the_published_engine(method: str, seen_on_published_engine: dict) -> None:
    assert 0 <= seen_on_published_engine[method]["accuracy"] <= 100


def test_the_stand_in_has_none_of_this_engines_extras() -> None:
    words = "".join(path.read_text() for path in (WORLD / "published_engine" / "dassl").glob("*.py"))
    for extra in ("extra_state", "begin_record", "self.record", "declare_list_or_scalar", "run_identity", "def finish"):
        assert extra not in words


@pytest.fixture(scope="module")
def coop_checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in of a CoOp checkout with this engine beside it, and pictures for its reader."""
    folder = checkout("coop_checkout", tmp_path_factory.mktemp("coop") / "checkout", "dassl")
    images = folder / "data" / "little" / "images"
    images.mkdir(parents=True)
    split: dict[str, list] = {"train": [], "val": [], "test": []}
    for label, name in enumerate(["forest", "river", "annual_crop", "sea"]):
        for part, count in (("train", 4), ("val", 1), ("test", 2)):
            for i in range(count):
                Image.new("RGB", (40, 36), (60 * label, 20 * i, 90)).save(images / f"{name}_{part}_{i}.png")
                split[part].append([f"{name}_{part}_{i}.png", label, name])
    (images.parent / "split_little.json").write_text(json.dumps(split))
    return folder


def run_coop(folder: Path, output: str, *words: str) -> str:
    given = ["--root", "data", "--trainer", "LittleCoOp", "--config-file", "configs/little.yaml", "--seed", "1", "--output-dir", output]
    return run_in(folder, *given, *words, "DATASET.NUM_SHOTS", "2")


def accuracy_in(printed: str) -> str:
    return re.findall(r"\* accuracy: (\S+)%", printed)[-1]


def test_a_pickled_few_shot_cache_of_the_published_engine_is_read() -> None:
    """It names the class by its module, and holds four private attributes."""
    published = b"".join(
        [
            b"cdassl.data.datasets.base_dataset\nDatum\n)\x81}(",
            b"V_impath\nVa.jpg\nV_label\nI3\nV_domain\nI0\nV_classname\nVsea\nub.",
        ]
    )
    item = pickle.loads(published)
    assert (item.impath, item.label, item.domain, item.classname) == ("a.jpg", 3, 0, "sea")


BASE = ("DATASET.SUBSAMPLE_CLASSES", "base", "TRAINER.LITTLECOOP.PREC", "fp32")


def test_a_trainer_and_a_reader_in_coops_style_run_on_this_engine(coop_checkout: Path) -> None:
    """Train an epoch, resume for the next, test the checkpoint on base and, with other classes than it was trained on, on new."""
    stopped = run_coop(coop_checkout, "output", *BASE, "OPTIM.MAX_EPOCH", "1")
    assert "Creating a 2-shot dataset" in stopped
    assert "epoch [1/1] batch [2/2]" in stopped and " acc " in stopped and "lr 1.0000e-03" in stopped
    resumed = run_coop(coop_checkout, "output", *BASE)
    assert "Loading preprocessed few-shot data" in resumed, "the reader's own pickle of Datum is read back"
    assert "epoch [1/" not in resumed and "epoch [2/2] batch [2/2]" in resumed and "lr 2.0000e-02" in resumed
    model = ("--eval-only", "--model-dir", "output", "--load-epoch", "2")
    tested = run_coop(coop_checkout, "tested", *model, *BASE)
    assert "epoch [" not in tested and accuracy_in(tested) == accuracy_in(resumed)
    assert "* total: 4" in run_coop(coop_checkout, "new", *model, *BASE, "DATASET.SUBSAMPLE_CLASSES", "new")


@pytest.mark.parametrize("precision", ["fp16", "amp"])
def test_precisions_of_coops_style_train_on_this_engine(precision: str, coop_checkout: Path) -> None:
    printed = run_coop(coop_checkout, precision, "TRAINER.LITTLECOOP.PREC", precision, "OPTIM.MAX_EPOCH", "1")
    assert "epoch [1/1] batch [4/4]" in printed and 0 <= float(accuracy_in(printed)) <= 100
