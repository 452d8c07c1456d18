"""Rooms import in one direction; clip/ and trainers/, or dassl/, work in a checkout of the CoOp family."""

import ast
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from clip import CLIP, CLIPConfig

REPO = Path(__file__).parents[1]
WORLD = Path(__file__).parent / "plugin_world"
ROOMS = {path.parent.name for path in REPO.glob("*/__init__.py")} | {"train"}
MAY_IMPORT = {"clip": set(), "dassl": set(), "trainers": {"clip", "dassl"}, "datasets": {"clip", "dassl"}}
PUBLISHED_NAMES = {  # of Dassl's last version (October 2022), those that trainers/ may use
    "dassl.config": {"get_cfg_default"},
    "dassl.data": {"DatasetWrapper"},
    "dassl.data.transforms": {"build_transform"},
    "dassl.engine": {"TRAINER_REGISTRY", "TrainerX"},
    "dassl.optim": {"build_optimizer", "build_lr_scheduler"},
    "dassl.metrics": {"compute_accuracy"},
    "dassl.utils": {"load_checkpoint", "load_pretrained_weights"},
}


def imports(path: Path) -> list[tuple[str, str]]:
    """(module, name) of all that a file imports from other packages; "" for a whole module."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            found += [(node.module or "", alias.name) for alias in node.names]
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_in_one_direction(room: str) -> None:
    files = list((REPO / room).rglob("*.py"))
    assert files
    for path in files:
        of_house = {module.split(".")[0] for module, _ in imports(path)} & ROOMS
        assert of_house <= {room, *MAY_IMPORT[room]}, path


def test_trainers_use_published_names_of_dassl() -> None:
    for path in (REPO / "trainers").glob("*.py"):
        for module, name in imports(path):
            assert module.split(".")[0] != "dassl" or name in PUBLISHED_NAMES[module], path


METHOD_CONFIGS = {
    "MPL": "MPL/vit_b4_c1_add2_rm1.yaml",
    "MaPLe": "MaPLe/vit_b16_c2_ep5_batch4_2ctx.yaml",
    "IVLP": "IVLP/vit_b16_c2_ep5_batch4_2+2ctx.yaml",
    "VPT": "VPT/vit_b16_c2_ep5_batch4_4.yaml",
    "CoOp": "CoOp/vit_b16.yaml",
    "CoCoOp": "CoCoOp/vit_b16_c4_ep10_batch1_ctxv1.yaml",
    "PromptSRC": "PromptSRC/vit_b16_c2_ep20_batch4_4+4ctx.yaml",
    "MMA": "MMA/vit_b16_ep5.yaml",
    "MMRL": "MMRL/vit_b16.yaml",
    "ZeroshotCLIP": "ZeroshotCLIP/vit_b16.yaml",
    "ZeroshotCLIP2": "ZeroshotCLIP/vit_b16.yaml",
}


def checkout(world: str, folder: Path, *taken: str) -> Path:
    """A copy of the checkout `world` in `folder`, with the rooms `taken` beside its own."""
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(WORLD / world, folder, ignore=no_caches)
    for name in taken:
        shutil.copytree(REPO / name, folder / name, ignore=no_caches)
    return folder


def run_in(folder: Path, *words: str | Path) -> str:
    """What `python train.py WORDS` prints in `folder`, with nothing else of this project on the path."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    environment["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # for the pickled schedulers of the published one
    call = [sys.executable, "train.py", *map(str, words)]
    done = subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def test_every_method_trains_resumes_and_reloads_on_the_published_engine(tmp_path: Path) -> None:
    folder = checkout("published_engine", tmp_path / "checkout", "clip", "trainers", "configs")
    torch.manual_seed(0)
    torch.save(CLIP(CLIPConfig(32, 32, 12, 64, 16, 32, 49408, 64, 12)).state_dict(), folder / "small.pt")
    pairs = [f"{method}=configs/trainers/{path}" for method, path in METHOD_CONFIGS.items()]
    seen = json.loads(run_in(folder, "small.pt", "output", *pairs).splitlines()[-1])
    assert list(seen) == list(METHOD_CONFIGS)
    for method, of_method in seen.items():
        if method.startswith("ZeroshotCLIP"):
            assert 0 <= of_method["accuracy"] <= 100
        else:
            assert of_method.pop("start_epoch") == 1, method
            assert all(of_method.values()), (method, of_method)
        assert (folder / "output" / method / "prompts.safetensors").is_file()


@pytest.fixture(scope="module")
def coop_checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in of a CoOp checkout with this engine beside it, and images for its reader."""
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
    given = f"--root data --trainer LittleCoOp --config-file configs/little.yaml --output-dir {output}"
    return run_in(folder, *given.split(), "--seed", "1", *words, "DATASET.NUM_SHOTS", "2")


def accuracy_in(printed: str) -> str:
    return re.findall(r"\* accuracy: (\S+)%", printed)[-1]


def test_a_pickled_few_shot_cache_of_the_published_engine_is_read() -> None:
    """It names the class by its module, and holds four private attributes."""
    published = b"cdassl.data.datasets.base_dataset\nDatum\n)\x81}("
    published += b"V_impath\nVa.jpg\nV_label\nI3\nV_domain\nI0\nV_classname\nVsea\nub."
    item = pickle.loads(published)
    assert (item.impath, item.label, item.domain, item.classname) == ("a.jpg", 3, 0, "sea")


BASE = ("DATASET.SUBSAMPLE_CLASSES", "base", "TRAINER.LITTLECOOP.PREC", "fp32")


def test_a_trainer_and_a_reader_in_coops_style_run_on_this_engine(coop_checkout: Path) -> None:
    """Train an epoch, resume for the next, and test the checkpoint on base and on new classes."""
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
