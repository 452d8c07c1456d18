"""The Shapes reader: from an empty data folder to a dataset like every other, whatever interrupts it.

One data folder is drawn for the module; tests that need one of their own copy it or draw few pictures.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datasets
from dassl.config import get_cfg_default
from dassl.data.datasets import build_dataset
from datasets import shapes
from datasets.images import MEMORY_NAME
from datasets.shapes_rendering import class_names, render

REPOSITORY = Path(__file__).resolve().parents[2]
N_PICTURES = 2400
FEW = {"train": 3, "val": 1, "test": 1}
"""Pictures a class where a test is not about the pictures; 120 in all."""
RACER = f"""
import os, sys, time
from pathlib import Path
from datasets import shapes
from tests.shapes.test_reader import read
shapes.SPLITS.update({FEW})
for root in sys.argv[1:]:
    barrier = Path(root).with_name("barrier " + Path(root).name)  # both start at once
    (barrier / str(os.getpid())).touch()
    deadline = time.time() + 60
    while len(os.listdir(barrier)) < 2 and time.time() < deadline:
        time.sleep(0.001)
    dataset = read(root)
    print(len(dataset.train_x), len(dataset.test))
"""


def read(root, **settings):
    """The Shapes dataset below `root`, through the engine's own entry."""
    cfg = get_cfg_default()
    datasets.extend_cfg(cfg)
    cfg.DATASET.NAME, cfg.DATASET.ROOT, cfg.SEED = "Shapes", str(root), 1
    for key, value in settings.items():
        cfg.DATASET[key] = value
    return build_dataset(cfg)


def files_below(folder):
    return {str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file() and "split_fewshot" not in p.parts and p.name != MEMORY_NAME}


def start(code, *arguments):
    """A Python process that runs `code` from the repository."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A data folder that did not exist before Shapes was asked for in it."""
    root = tmp_path_factory.mktemp("data") / "deeper" / "data"
    read(root)
    return root


@pytest.fixture
def copied(drawn, tmp_path):
    """A copy of the drawn data folder, to damage."""
    shutil.copytree(drawn / "shapes", tmp_path / "shapes", ignore=shutil.ignore_patterns("split_fewshot"))
    return tmp_path


def test_first_use_writes_the_whole_dataset_and_nothing_else(drawn):
    assert len(files_below(drawn / "shapes")) == N_PICTURES + 1
    assert [p.name for p in drawn.iterdir()] == ["shapes"], "a temporary folder was left behind"


def test_two_processes_at_once_end_with_one_whole_dataset(tmp_path):
    roots = [tmp_path / "nothing is there", tmp_path / "an incomplete folder is there"]
    for root in roots:
        (tmp_path / f"barrier {root.name}").mkdir()
    (roots[1] / "shapes/images/blue_star").mkdir(parents=True)
    racers = [start(RACER, *map(str, roots)) for _ in range(2)]
    said = [racer.communicate(timeout=120)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0], said
    assert all(text.count("writing 120 pictures") == text.count("72 24") == 2 for text in said), said
    for root in roots:
        assert len(files_below(root / "shapes")) == 120 + 1
        assert [p.name for p in root.iterdir()] == ["shapes"], "a temporary folder was left behind"


def test_split_file_is_in_the_common_format(drawn):
    split = json.loads((drawn / "shapes/split_shapes.json").read_text())
    assert {part: len(rows) for part, rows in split.items()} == {"train": 768, "val": 192, "test": 1440}
    assert split["train"][0] == ["blue_star/train_00.png", 0, "blue star"]
    assert {(label, name) for rows in split.values() for _, label, name in rows} == set(enumerate(class_names()))


def test_files_hold_the_rendered_pixels(drawn):
    for picture in (("train", 0, 31), ("test", 20, 5)):
        with Image.open(drawn / "shapes/images" / shapes.picture_path(*picture)) as file:
            assert file.mode == "RGB"
            assert np.array_equal(np.asarray(file), render(*picture))


def test_few_shot_base_and_new(drawn, capsys):
    names = class_names()
    base = read(drawn, NUM_SHOTS=16, SUBSAMPLE_CLASSES="base")
    new = read(drawn, NUM_SHOTS=16, SUBSAMPLE_CLASSES="new")
    assert base.classnames == names[:12] and new.classnames == names[12:]
    assert [len(part) for part in (base.train_x, base.val, base.test)] == [12 * 16, 12 * 4, 12 * 60]
    assert {d.label for d in new.test} == set(range(12))
    assert "writing" not in capsys.readouterr().out, "pictures that are there were drawn again"


def test_rights_of_the_folder_are_those_of_any_new_folder(drawn, tmp_path):
    (tmp_path / "plain").mkdir()
    assert stat.S_IMODE((drawn / "shapes").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_incomplete_folder_is_noticed_and_completed(copied, capsys):
    folder = copied / "shapes"
    (folder / "split_shapes.json").unlink()
    shutil.rmtree(folder / "images/red_heart")
    (folder / "images/blue_star/test_07.png").unlink()
    kept = (folder / "images/blue_star/test_08.png").stat().st_ino
    read(copied)
    assert "writing 101 pictures and the split file" in capsys.readouterr().out
    assert len(files_below(folder)) == N_PICTURES + 1
    assert (folder / "images/blue_star/test_08.png").stat().st_ino == kept
    with Image.open(folder / "images/blue_star/test_07.png") as file:
        assert np.array_equal(np.asarray(file), render("test", 0, 7))


def test_a_split_file_that_is_there_is_kept(copied):
    path = copied / "shapes/split_shapes.json"
    split = json.loads(path.read_text())
    split["val"] = split["val"][:5]
    path.write_text(json.dumps(split))
    (copied / "shapes/images/blue_star/test_07.png").unlink()
    assert len(read(copied).val) == 5


def test_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    def stop(split, label, index):
        if index == 3:
            raise KeyboardInterrupt
        return render(split, label, index)

    monkeypatch.setattr(shapes, "render", stop)
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_killed_drawing_leaves_no_dataset(tmp_path):
    """A killed process cleans nothing up, but what it leaves is never taken for the dataset."""
    script = "import os; from datasets import shapes; shapes.render = lambda *p: os._exit(9); from tests.shapes.test_reader import read; "
    process = start(script + f"read({str(tmp_path)!r})")
    process.communicate(timeout=120)
    assert process.returncode == 9
    assert not (tmp_path / "shapes").exists()


def check_message(error, root):
    text = str(error.value)
    assert "2,400 of its pictures are not in" in text and str(root) in text
    assert "next step: make that folder writable, or set DATASET.ROOT" in text and "$DATA" in text


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(OSError) as error:
        read(tmp_path / "data")
    check_message(error, tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_read_only_data_folder(tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(OSError) as error:
            read(tmp_path)
    finally:
        tmp_path.chmod(0o755)
    check_message(error, tmp_path)


def test_full_disk(tmp_path, monkeypatch):
    def no_space(split, label, index):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shapes, "render", no_space)
    with pytest.raises(OSError, match="No space left on device") as error:
        read(tmp_path)
    check_message(error, tmp_path)
    assert list(tmp_path.iterdir()) == []
