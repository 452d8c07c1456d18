"""Every reader on a miniature of its true layout: rows, few-shot samples, base and new classes, messages."""

import itertools
import json
import random

import numpy as np
import pytest
import torch

from datasets.imagenet import PUBLISHED_NAMES
from datasets.sampling import sample_split, select_classes
from datasets.splits import Row, Split
from tests.datasets.conftest import CLASSES, IMAGENET, SAMPLED, VARIANTS, lay_out, put, read, refused, rows_of

IMAGENETV2 = "imagenetv2/imagenetv2-matched-frequency-format-val"


def plain_draws(split, k, seed, classes="all", samples_val=True):
    """Few-shot sample and base or new half, with Python's global generator as in the published readers."""

    def draw(rows, k):
        out = []
        for label in dict.fromkeys(row[1] for row in rows):
            items = [row for row in rows if row[1] == label]
            out += random.sample(items, k) if len(items) >= k else items
        return out

    train, val, test = split["train"], split["val"], split["test"]
    if k >= 1:
        random.seed(seed)
        train = draw(train, k)
        val = draw(val, min(k, 4)) if samples_val else val
    n = len({row[1] for row in split["train"]})
    first = 0 if classes != "new" else -(-n // 2)
    last = n if classes != "base" else -(-n // 2)
    return tuple(
        [[p, label - first, c] for p, label, c in part if first <= label < last]
        for part in (train, val, test)
    )


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory):
    """laid_out(name): a data folder with the named dataset, and its rows; written once a module."""
    made = {}

    def get(name):
        if name not in made:
            root = tmp_path_factory.mktemp(name)
            made[name] = root, lay_out(root, name)
        return made[name]

    return get


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("shots", (-1, 1, 2, 4, 8, 16))
def test_samples_and_halves_are_the_published_ones(name, shots, laid_out):
    root, split = laid_out(name)
    names = list(IMAGENET.values() if name == "ImageNet" else CLASSES)
    halves = {"all": names, "base": names[:3], "new": names[3:]}
    for seed, (classes, names) in itertools.product((1, 2, 3), halves.items()):
        before = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()
        dataset = read(name, root, shots=shots, seed=seed, classes=classes)
        assert before == (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())
        assert rows_of(dataset) == plain_draws(split, shots, seed, classes, samples_val=name != "ImageNet")
        assert (dataset.classnames, dataset.lab2cname) == (names, dict(enumerate(names)))
        assert (dataset.num_classes, dataset.title, dataset.test_only) == (len(names), name, False)


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_test_only_and_ignore_k_and_halves(name, laid_out):
    root, split = laid_out(name)
    for settings_of_run in ({}, {"classes": "new", "shots": 16}):
        dataset = read(name, root, **settings_of_run)
        assert dataset.test_only and rows_of(dataset) == (split["train"], [], split["test"])


def test_a_variant_finds_imagenets_class_names(tmp_path):
    lay_out(tmp_path, "ImageNetA")
    lay_out(tmp_path, "ImageNet")
    (tmp_path / "imagenet-adversarial/classnames.txt").unlink()
    assert read("ImageNetA", tmp_path).classnames == ["goldfish", "great white shark", "hammerhead shark"]


def test_imagenetv2_has_wnids_in_sorted_order_and_items_in_order_of_label(tmp_path):
    folder = tmp_path / IMAGENETV2
    names = sorted(line.split(" ", 1) for line in PUBLISHED_NAMES.read_text().splitlines())[:12]
    for i in range(12):
        put(folder / f"{i}/a.jpeg")
    put(folder.parent / "classnames.txt", "".join(f"{wnid} {name}\n" for wnid, name in reversed(names)))
    rows = rows_of(read("ImageNetV2", tmp_path))[2]
    assert rows == [[f"{i}/a.jpeg", i, name] for i, (_, name) in enumerate(names)]
    for i, (wnid, _) in enumerate(names):
        (folder / str(i)).rename(folder / wnid)
    assert rows_of(read("ImageNetV2", tmp_path))[2] == [
        [f"{wnid}/a.jpeg", i, name] for i, (wnid, name) in enumerate(names)
    ]


# Few-shot samples and halves of any split


def test_an_unseeded_sample_differs():
    rows = [Row(f"{i}", i % 3, f"c{i % 3}") for i in range(60)]
    split, state = Split(rows, [], rows), random.getstate()
    samples = [sample_split(split, 8, -1).train for _ in range(3)]
    assert samples[0] != samples[1] != samples[2] and random.getstate() == state


def test_halves_that_cannot_be_tested_or_have_one_class_are_refused():
    rows = [Row(f"{label}.jpg", label, f"c{label}") for label in range(4)]
    for split in (Split(rows[:2], [], rows[:2]), Split(rows[:3], [], rows[:3]), Split(rows, [], rows[:2])):
        assert select_classes(split, "all") is split
        for half in ("base", "new"):
            with pytest.raises(ValueError, match="few_shot.sh"):
                select_classes(split, half)
    with pytest.raises(ValueError, match="novel"):
        select_classes(Split(rows, [], rows), "novel")


# What is missing or wrong


@pytest.mark.parametrize(
    "missing", ("data", "data/eurosat", "data/eurosat/2750", "data/eurosat/split_zhou_EuroSAT.json")
)
def test_what_is_missing_is_named_with_the_next_step(missing, tmp_path):
    if missing.endswith("json"):
        lay_out(tmp_path / "data", "EuroSAT")
        (tmp_path / missing).unlink()
    (tmp_path / missing).parent.mkdir(parents=True, exist_ok=True)
    message = refused("EuroSAT", tmp_path / "data", shots=4)
    steps = ("--root", "split_zhou_EuroSAT.json", "prepare fetch eurosat", "phelber/EuroSAT", "drive.google")
    for part in (f"{tmp_path / missing} is missing", *steps, "shapes 1"):
        assert part in message
    assert ("MAKE_SPLIT" in message) == missing.endswith("json")
    assert not list(tmp_path.glob("data/eurosat/*.json"))  # nothing was made quietly


@pytest.mark.parametrize(("name", "path"), [
    ("FGVCAircraft", "fgvc_aircraft/variants.txt"),
    ("FGVCAircraft", "fgvc_aircraft/images_variant_val.txt"),
    ("ImageNet", "imagenet/classnames.txt"),
    ("ImageNetV2", "imagenetv2/classnames.txt"),
])  # fmt: skip
def test_a_missing_or_wrong_list_is_named(name, path, tmp_path):
    lay_out(tmp_path, name)
    (tmp_path / path).unlink()
    assert f"{path} is missing" in refused(name, tmp_path, make_split=True)
    for content in ("../../secret ash\n", "n01440764\n", b"\xff\n"):
        put(tmp_path / path, content)
        refused(name, tmp_path)


def test_missing_images_are_counted_and_named(tmp_path):
    lay_out(tmp_path, "EuroSAT")
    (tmp_path / "eurosat/2750/elm").rename(tmp_path / "elsewhere")
    assert f"is the folder above that, {tmp_path}\n" in refused("EuroSAT", tmp_path / "eurosat")
    message = refused("EuroSAT", tmp_path, shots=1)
    for part in ("of the 82 images", f"{tmp_path}/eurosat/2750", "holds Douglas_fir, ash", "phelber/EuroSAT"):
        assert part in message


def test_imagenet_folders_that_do_not_fit_are_named(tmp_path):
    lay_out(tmp_path, "ImageNet")
    (tmp_path / "imagenet/images/train/n01484850").rename(tmp_path / "elsewhere")
    assert "n01484850" in refused("ImageNet", tmp_path)
    (tmp_path / "imagenet/images/val").rename(tmp_path / "val")
    assert "images/val" in refused("ImageNet", tmp_path)
    lay_out(tmp_path, "ImageNetV2")
    missing = tmp_path / IMAGENETV2 / "3"
    missing.rename(tmp_path / "3")
    assert str(missing) in refused("ImageNetV2", tmp_path)


ROW = ["ash/x.jpg", 0, "ash"]


def with_row(*row):
    return {"train": [ROW, list(row)], "val": [], "test": [ROW]}


SPLIT_FILES = {
    "not JSON": "{",
    "not UTF-8": b"\xff{}",
    "no val": {"train": [], "test": []},
    "a short row": with_row("x.jpg", 0),
    "path no string": with_row(1, 0, "ash"),
    "Windows path": with_row("C:\\x.jpg", 0, "ash"),
    "path upwards": with_row("a/../../x.jpg", 0, "ash"),
    "label negative": with_row("x.jpg", -1, "ash"),
    "name empty": with_row("x.jpg", 0, " "),
    "two names": with_row("x.jpg", 0, "elm"),
    "no train": {"train": [], "val": [], "test": [ROW]},
    "no test": {"train": [ROW], "val": [], "test": []},
    "label gap": with_row("x.jpg", 10**12, "elm"),
    "untrained class": {"train": [ROW], "val": [], "test": [ROW, ["y.jpg", 1, "elm"]]},
}


@pytest.mark.parametrize("what", SPLIT_FILES)
def test_a_wrong_split_file_is_refused(what, tmp_path):
    lay_out(tmp_path, "EuroSAT")
    content = SPLIT_FILES[what]
    path = tmp_path / "eurosat/split_zhou_EuroSAT.json"
    put(path, content if isinstance(content, (str, bytes)) else json.dumps(content))
    assert str(path) in refused("EuroSAT", tmp_path)
