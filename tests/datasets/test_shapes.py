"""Shapes: the same images everywhere and every time, drawn into the data folder on first use."""

import hashlib
import json
import shutil

import numpy as np
from PIL import Image

from datasets import shapes
from datasets.shapes_rendering import class_names, render
from tests.datasets.conftest import read

# SHA-256 of the pixels. A change here makes another dataset: results on the old one no longer compare.
PIXELS = {
    ("train", 0, 0): "558695290ed96cf67ba4f981e82bbf200d59c85a9da5b77ce8194bcaab48b1fc",
    ("val", 7, 3): "7cfd620089e5e7aba6da903a4bb3fbfb43812a88e8fc54bc2d71176962268c00",
    ("test", 12, 59): "46f17ab499fe2bfe59bbb80bae473ba47c0502c13bf77ccd96e0c067b16a9459",
    ("test", 23, 0): "a3fffbbceaf41767fed25f7b278376ea552251883f11d219a4868c6cc12e02c7",
}
SPLIT_SHA256 = "e6a621869cab24984ca7772e369c183444418521fac394b9c6c8fc631bad24b8"


def test_pixels_are_pinned():
    for image, expected in PIXELS.items():
        assert hashlib.sha256(render(*image).tobytes()).hexdigest() == expected


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_first_use_writes_the_whole_dataset_and_nothing_else(drawn, capsys):
    assert len(files_below(drawn)) == 2400 + 1 and [path.name for path in drawn.iterdir()] == ["shapes"]
    text = (drawn / "shapes/split_shapes.json").read_text()
    split = json.loads(text)
    assert hashlib.sha256(text.encode()).hexdigest() == SPLIT_SHA256
    assert split["train"][0] == ["blue_star/train_00.png", 0, "blue star"]
    with Image.open(drawn / "shapes/images/blue_star/train_31.png") as file:
        assert file.mode == "RGB" and np.array_equal(np.asarray(file), render("train", 0, 31))
    base, new = (read("Shapes", drawn, shots=16, classes=half) for half in ("base", "new"))
    assert base.classnames == class_names()[:12] and new.classnames == class_names()[12:]
    assert [len(part) for part in (base.train_x, base.val, base.test)] == [12 * 16, 12 * 4, 12 * 60]
    assert "writing" not in capsys.readouterr().out


def test_what_is_missing_is_drawn_and_what_is_there_is_kept(drawn, tmp_path, capsys):
    folder = tmp_path / "shapes"
    shutil.copytree(drawn / "shapes", folder)
    split = json.loads((folder / "split_shapes.json").read_text())
    (folder / "split_shapes.json").write_text(json.dumps({**split, "val": split["val"][:5]}))
    shutil.rmtree(folder / "images/red_heart")
    (folder / "images/blue_star/test_07.png").unlink()
    kept = (folder / "images/blue_star/test_08.png").stat().st_ino
    assert len(read("Shapes", tmp_path).val) == 5
    assert "writing 101 images" in capsys.readouterr().out
    assert files_below(folder) == files_below(drawn / "shapes")
    assert (folder / "images/blue_star/test_08.png").stat().st_ino == kept


def test_another_process_may_draw_at_the_same_time(tmp_path, monkeypatch):
    """The other one draws everything while this one draws its first image; both end with whole files."""
    monkeypatch.setattr(shapes, "SPLITS", {"train": 1, "val": 1, "test": 1})

    def render_beside_another(*image):
        monkeypatch.setattr(shapes, "render", render)
        monkeypatch.setattr(shapes.os, "getpid", lambda: 1)
        read("Shapes", tmp_path)
        return render(*image)

    monkeypatch.setattr(shapes, "render", render_beside_another)
    assert len(read("Shapes", tmp_path).test) == 24
    assert len(files_below(tmp_path)) == 24 * 3 + 1
