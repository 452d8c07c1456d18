"""Datasets, transforms, samplers, and loaders whose batches depend on the seed alone."""

import os
import random
import shutil
from pathlib import Path

import engine_world
import numpy as np
import pytest
import torch
import torchvision.transforms as T
from PIL import Image

from dassl.data import DataManager, DatasetWrapper, build_data_loader
from dassl.data.datasets import DatasetBase, Datum, build_dataset
from dassl.data.samplers import build_sampler
from dassl.data.transforms import INTERPOLATION_MODES, TRANSFORM_NAMES, build_transform
from dassl.utils import ImageError, set_random_seed


class NoisyWrapper(DatasetWrapper):
    """A wrapper of one's own that draws from all three generators."""

    def __getitem__(self, idx):
        return {**super().__getitem__(idx), "draws": torch.tensor([random.random(), np.random.rand(), torch.rand(()).item()])}


def epochs(loader, n_epochs, seed):
    """Everything that a loader gives in some epochs, and the state of the generators after them."""
    set_random_seed(seed)
    seen = [{k: v for k, v in batch.items() if k != "impath"} for _ in range(n_epochs) for batch in loader]
    return seen, (random.random(), np.random.rand(), torch.rand(()).item())


def same(left, right):
    return len(left) == len(right) and all(torch.equal(a[key], b[key]) for a, b in zip(left, right, strict=True) for key in a)


def train_loader(root, workers, wrapper=NoisyWrapper):
    cfg = engine_world.config(root, root, ["DATALOADER.NUM_WORKERS", workers])
    return DataManager(cfg, dataset_wrapper=wrapper).train_loader_x


def test_batches_depend_on_the_seed_and_not_on_the_workers(root):
    alone, after_alone = epochs(train_loader(root, 0), 2, seed=0)
    assert same(alone, epochs(train_loader(root, 0), 2, seed=0)[0])
    for workers in (1, 2):
        loader = train_loader(root, workers)
        assert loader.persistent_workers
        shared, after_shared = epochs(loader, 2, seed=0)
        assert same(alone, shared) and after_alone == after_shared
    assert not same(alone, epochs(train_loader(root, 0), 2, seed=1)[0])
    n = len(alone) // 2
    assert not same(alone[:n], alone[n:]), "epochs differ"
    assert len({tuple(draws) for batch in alone for draws in batch["draws"].tolist()}) == 2 * n * 4, "each sample has its own seed"


def test_batches_are_the_same_with_spawned_workers(root):
    alone, _ = epochs(train_loader(root, 0, wrapper=None), 1, seed=2)
    loader = train_loader(root, 1, wrapper=None)
    loader.multiprocessing_context = "spawn"
    assert same(alone, epochs(loader, 1, seed=2)[0])


def test_an_evaluation_draws_nothing_and_keeps_no_workers(root):
    cfg = engine_world.config(root, root, ["DATALOADER.NUM_WORKERS", 1])
    loader = DataManager(cfg, custom_tfm_test=T.Compose([T.RandomCrop(8), T.ToTensor()])).test_loader
    assert not loader.persistent_workers
    first, after_first = epochs(loader, 1, seed=0)
    set_random_seed(0)
    assert after_first == (random.random(), np.random.rand(), torch.rand(()).item())
    assert same(first, epochs(loader, 1, seed=9)[0])


def test_the_last_partial_batch_is_dropped_only_after_a_full_one(root):
    def sizes(batch_size):
        cfg = engine_world.config(root, root, ["DATALOADER.TRAIN_X.BATCH_SIZE", batch_size])
        return [len(batch["label"]) for batch in DataManager(cfg).train_loader_x]

    assert sizes(4) == [4, 4, 4] and sizes(15) == [15] and sizes(100) == [15]


def test_a_damaged_picture_is_named_also_by_a_worker(root, tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"no picture")
    for workers in (0, 1):
        cfg = engine_world.config(root, root, ["DATALOADER.NUM_WORKERS", workers])
        loader = build_data_loader(cfg, data_source=[Datum(str(path))], tfm=T.ToTensor(), is_train=False)
        batches = iter(loader)
        with pytest.raises(ImageError) as caught:
            next(batches)
        assert str(caught.value).startswith(f"cannot decode the picture {path} (10 bytes)")
        assert "Traceback" not in str(caught.value)
        if workers:
            batches._shutdown_workers()  # the error holds the iterator, whose worker would end only after a timeout


def test_the_manager_gives_what_trainers_read(root, capsys):
    cfg = engine_world.config(root, root, ["VERBOSE", "True", "DATALOADER.RETURN_IMG0", "True", "DATALOADER.K_TRANSFORMS", "2"])
    dm = DataManager(cfg)
    out = capsys.readouterr().out
    assert dm.num_classes == 3 and dm.lab2cname == dict(enumerate(engine_world.COLOURS)) and dm.train_loader_u is None
    assert dm.dataset.classnames == list(engine_world.COLOURS) and dm.num_source_domains == 0
    for row in ("Dataset    Colours", "# classes  3", "# train_x  15", "# val      3", "# test     6"):
        assert row in out
    batch = next(iter(dm.train_loader_x))
    assert [img.shape for img in batch["img"]] == [(4, 3, 8, 8)] * 2 and batch["img0"].shape == (4, 3, 8, 8)
    assert {"label", "domain", "impath", "index"} <= batch.keys()
    item = DatasetWrapper(cfg, dm.dataset.test, transform=[T.ToTensor(), T.Grayscale()])[1]
    assert item["img"].shape == (3, 10, 12) and item["img2"].mode == "L" and item["index"] == 1
    with pytest.raises(ValueError, match="K_TRANSFORMS 2 needs a transform"):
        DatasetWrapper(cfg, dm.dataset.train_x, is_train=True)


def test_few_shots_are_drawn_as_published():
    items = [Datum(f"{label}/{index}", label, classname=str(label)) for index in range(6) for label in (2, 0, 1)]
    base = DatasetBase(train_x=items, test=items)
    set_random_seed(1)
    drawn = base.generate_fewshot_dataset(items, num_shots=2)
    random.seed(1)
    groups = [[item for item in items if item.label == label] for label in (2, 0, 1)]
    expected = [item for group in groups for item in random.sample(group, 2)]
    assert [item.impath for item in drawn] == [item.impath for item in expected]
    assert len(base.generate_fewshot_dataset(items, num_shots=9)) == 18
    assert len(base.generate_fewshot_dataset(items, num_shots=9, repeat=True)) == 27
    assert base.generate_fewshot_dataset(items, num_shots=-1) is items
    train, val = base.generate_fewshot_dataset(items, items[:3], num_shots=1)
    assert len(train) == len(val) == 3
    assert base.num_classes == 3 and base.classnames == ["0", "1", "2"]
    with pytest.raises(ValueError, match="no domain 'sketch'"):
        base.check_input_domains(["sketch"], [])
    with pytest.raises(TypeError, match="impath"):
        Datum(3)


def test_an_unknown_dataset_and_no_pictures(root):
    cfg = engine_world.config(root, root, ["DATASET.NAME", "Colors"])
    with pytest.raises(KeyError, match="Did you mean Colours"):
        build_dataset(cfg)
    with pytest.raises(ValueError, match="no pictures to load for DATASET.NAME Colors"):
        build_data_loader(cfg, data_source=[])


# --- transforms ---------------------------------------------------------------------------------------------------------


def transform_cfg(*names, **settings):
    cfg = engine_world.get_cfg_default()
    cfg.VERBOSE, cfg.INPUT.TRANSFORMS, cfg.INPUT.SIZE = False, names, (32, 32)
    for key, value in settings.items():
        cfg.INPUT[key] = value
    return cfg


@pytest.fixture(scope="module")
def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("name", TRANSFORM_NAMES)
def test_each_transform_gives_the_asked_size_and_follows_the_seed(name, picture):
    transform = build_transform(transform_cfg(name), is_train=True)
    set_random_seed(4)
    first = transform(picture)
    assert first.shape == (3, 32, 32) and first.dtype == torch.float32 and bool(first.isfinite().all())
    set_random_seed(4)
    assert torch.equal(first, transform(picture))
    untouched = build_transform(transform_cfg(), is_train=True)(picture)
    set_random_seed(4)
    assert any(not torch.equal(transform(picture), untouched) for _ in range(20)), "it does something"


def test_the_test_transform_has_pils_own_pixels(picture):
    names = ("random_resized_crop", "random_flip", "normalize")
    cfg = transform_cfg(*names, INTERPOLATION="bicubic", SIZE=(24, 24))
    given = build_transform(cfg, is_train=False)(picture)
    small = picture.resize((33, 24), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(small.crop((4, 0, 28, 24)))).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD))
    assert torch.allclose(given, (pixels - mean) / std, atol=1e-6)


def test_normalize_alone_resizes_in_training(picture):
    transform = build_transform(transform_cfg("normalize", SIZE=(20, 30)), is_train=True)
    assert transform(picture).shape == (3, 20, 30)
    assert build_transform(transform_cfg(NO_TRANSFORM=True)) is None


def test_unknown_transforms_and_interpolations_list_the_known():
    with pytest.raises(KeyError, match="Did you mean random_flip"):
        build_transform(transform_cfg("random_flop"))
    with pytest.raises(KeyError, match="bicubic, bilinear, nearest"):
        build_transform(transform_cfg(INTERPOLATION="cubic"))
    assert list(INTERPOLATION_MODES) == ["bilinear", "bicubic", "nearest"]


# --- samplers -----------------------------------------------------------------------------------------------------------

ITEMS = [Datum(str(i), label=i % 3, domain=0 if i < 8 else 1) for i in range(20)]


@pytest.mark.parametrize(
    ("name", "settings", "length"),
    [
        ("RandomSampler", {}, 20),
        ("SequentialSampler", {}, 20),
        ("SeqDomainSampler", {}, 20),
        ("RandomDomainSampler", {"batch_size": 4}, 16),
        ("RandomClassSampler", {"batch_size": 4, "n_ins": 2}, 16),
        ("RandomClassSampler", {"batch_size": 10, "n_ins": 10}, 30),
    ],
)
def test_samplers_have_the_length_they_say_and_balance_their_batches(name, settings, length):
    sampler = build_sampler(name, data_source=ITEMS, **settings)
    for _ in range(3):
        indices = list(sampler)
        assert len(indices) == len(sampler) == length
        for start in range(0, length, settings.get("batch_size", length)):
            batch = [ITEMS[index] for index in indices[start : start + settings.get("batch_size", length)]]
            if name == "RandomDomainSampler":
                assert sorted(item.domain for item in batch) == [0, 0, 1, 1]
            if name == "RandomClassSampler":
                assert {[i.label for i in batch].count(label) for label in {i.label for i in batch}} == {settings["n_ins"]}


def test_samplers_say_what_they_cannot_do():
    with pytest.raises(KeyError, match="Did you mean RandomSampler"):
        build_sampler("RandomSample", data_source=ITEMS)
    with pytest.raises(ValueError, match="batches of 3 over 2 of 2 domains"):
        build_sampler("RandomDomainSampler", data_source=ITEMS, batch_size=3)
    with pytest.raises(ValueError, match="need 0 classes"):
        build_sampler("RandomClassSampler", data_source=ITEMS, batch_size=4, n_ins=16)


def test_a_domain_that_the_dataset_does_not_have_is_named():
    dataset = DatasetBase(train_x=[Datum("a.jpg", 0)], test=[Datum("b.jpg", 0)])
    dataset.domains = ["photo", "sketch"]
    dataset.check_input_domains(["photo"], ["sketch"])
    with pytest.raises(ValueError, match="DatasetBase has no domain 'clipart'; its domains: photo, sketch. Check DATASET.SOURCE_DOMAINS"):
        dataset.check_input_domains(["photo"], ["clipart"])


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_an_archive_is_fetched_and_unpacked_in_its_folder(tmp_path, kind):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "list.txt").write_text("a")
    archive = shutil.make_archive(str(tmp_path / "archive"), kind, tmp_path / "made")
    target = tmp_path / "data" / os.path.basename(archive)
    DatasetBase(test=[Datum("b.jpg", 0)]).download_data(Path(archive).as_uri(), str(target), from_gdrive=False)
    assert (tmp_path / "data" / "list.txt").read_text() == "a"


def test_what_is_fetched_and_is_no_archive_is_named(tmp_path):
    (tmp_path / "page.zip").write_text("<html>")
    target = tmp_path / "data" / "page.zip"
    with pytest.raises(ValueError, match=r"page.zip, from file://.*, is neither a zip nor a tar archive; download it by hand"):
        DatasetBase(test=[Datum("b.jpg", 0)]).download_data((tmp_path / "page.zip").as_uri(), str(target), from_gdrive=False)
