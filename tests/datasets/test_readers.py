"""Every reader on a miniature of its true layout: rows, few-shot samples, base/new halves, first run and cached run."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase
from datasets.base import ImageDataset

SPLIT_NAMES = ("Caltech101", "OxfordPets", "StanfordCars", "OxfordFlowers", "Food101", "SUN397", "DescribableTextures", "EuroSAT", "UCF101")
SAMPLED_NAMES = (*SPLIT_NAMES, "FGVCAircraft", "ImageNet")
VARIANT_NAMES = ("ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR")
CONFIG_DIR = Path(__file__).parents[2] / "configs" / "datasets"


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory, lay_out):
    """laid_out(name): a data folder with the named dataset, and its rows; written once a module."""
    made = {}

    def get(name):
        if name not in made:
            root = tmp_path_factory.mktemp(name)
            made[name] = root, lay_out(root, name)
        return made[name]

    return get


def generator_states():
    return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()


@pytest.mark.parametrize("name", SAMPLED_NAMES)
@pytest.mark.parametrize("shots", (-1, 0, 1, 2, 4, 8, 16))
def test_samples_are_the_plain_draws_first_and_cached(name, shots, laid_out, read, rows_of, plain_draws):
    root, split = laid_out(name)
    expected = plain_draws(split, shots, seed=3, samples_val=name != "ImageNet")
    before = generator_states()
    for _ in ("first", "cached"):
        assert rows_of(read(name, root, shots=shots, seed=3), name, root) == expected
    assert generator_states() == before
    assert any(root.glob(f"*/split_fewshot/shot_{shots}-seed_3.json")) == (shots >= 1)


@pytest.mark.parametrize("name", SAMPLED_NAMES)
@pytest.mark.parametrize("classes", ("base", "new"))
def test_halves_are_relabelled_from_0(name, classes, laid_out, read, rows_of, plain_draws):
    root, split = laid_out(name)
    expected = plain_draws(split, 4, 1, classes, samples_val=name != "ImageNet")
    for _ in ("first", "cached"):
        dataset = read(name, root, shots=4, seed=1, classes=classes)
        assert rows_of(dataset, name, root) == expected
    names = ["ash", "birch", "cedar wood"] if classes == "base" else ["Douglas fir", "elm"]
    assert dataset.classnames == names and dataset.num_classes == len(names)
    assert dataset.lab2cname == dict(enumerate(names))


def test_seeds_differ_and_0_is_a_seed(laid_out, read, rows_of, plain_draws):
    root, split = laid_out("EuroSAT")
    samples = {seed: rows_of(read("EuroSAT", root, shots=2, seed=seed), "EuroSAT", root) for seed in (0, 1, 2)}
    assert samples == {seed: plain_draws(split, 2, seed) for seed in (0, 1, 2)}
    assert samples[0] != samples[1] != samples[2]


def test_imagenet_lists_in_sorted_order_whatever_the_file_system(laid_out, read, rows_of):
    root, _ = laid_out("ImageNet")
    train, val, test = rows_of(read("ImageNet", root), "ImageNet", root)
    assert [row[0] for row in train] == sorted(row[0] for row in train)
    assert val == test and len(test) == 10


@pytest.mark.parametrize("name", VARIANT_NAMES)
@pytest.mark.parametrize("settings", ({}, {"shots": 1}, {"classes": "new", "shots": 16}))
def test_variants_are_test_only_and_ignore_k_and_halves(name, settings, laid_out, read, rows_of):
    root, split = laid_out(name)
    dataset = read(name, root, **settings)
    assert rows_of(dataset, name, root) == (split["train"], [], split["test"])
    assert dataset.test_only and not any(root.glob("*/split_fewshot"))
    assert dataset.num_classes == (5 if name in ("ImageNetV2", "ImageNetSketch") else 3)


def test_variant_finds_imagenets_class_names(tmp_path, lay_out, read):
    lay_out(tmp_path, "ImageNetA")
    lay_out(tmp_path, "ImageNet")
    (tmp_path / "imagenet-adversarial/classnames.txt").unlink()
    assert read("ImageNetA", tmp_path).classnames == ["birch", "cedar wood", "elm"]


def test_root_may_be_relative_or_of_the_home_folder(tmp_path, lay_out, read, monkeypatch):
    lay_out(tmp_path / "data", "EuroSAT")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = [read("EuroSAT", root).test[0].impath for root in ("data", "~/data", tmp_path / "data")]
    assert len(set(paths)) == 1 and Path(paths[0]).is_file()


def test_every_dataset_of_the_papers_is_registered_with_its_facts(facts):
    for name in (*SAMPLED_NAMES, *VARIANT_NAMES):
        reader = DATASET_REGISTRY.get(name)
        assert issubclass(reader, ImageDataset) and issubclass(reader, DatasetBase)
        assert reader.source.startswith("https://")
        if name in facts:
            assert (reader.dataset_dir, reader.image_dir, reader.split_file) == facts[name][:3]
            assert reader.split_source.startswith("https://")


def test_each_config_names_a_reader_and_opens_with_its_page():
    named = {}
    for path in CONFIG_DIR.glob("*.yaml"):
        text = path.read_text()
        named[path.stem] = yaml.safe_load(text)["DATASET"]["NAME"]
        assert text.startswith("#"), path
    assert {named.pop(stem) for stem in CONFIG_OF} == {*SAMPLED_NAMES, *VARIANT_NAMES}
    for stem, name in CONFIG_OF.items():
        assert DATASET_REGISTRY.get(name).__module__ == f"datasets.{stem}"
        assert "https://" in (CONFIG_DIR / f"{stem}.yaml").read_text().splitlines()[0]


CONFIG_OF = {  # config, which is also the module of the reader -> registered name
    "caltech101": "Caltech101",
    "oxford_pets": "OxfordPets",
    "stanford_cars": "StanfordCars",
    "oxford_flowers": "OxfordFlowers",
    "food101": "Food101",
    "fgvc_aircraft": "FGVCAircraft",
    "sun397": "SUN397",
    "dtd": "DescribableTextures",
    "eurosat": "EuroSAT",
    "ucf101": "UCF101",
    "imagenet": "ImageNet",
    "imagenetv2": "ImageNetV2",
    "imagenet_sketch": "ImageNetSketch",
    "imagenet_a": "ImageNetA",
    "imagenet_r": "ImageNetR",
}
