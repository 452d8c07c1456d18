"""Pictures are decoded and resized once, and no batch is other than without; whatever is done to the folder of kept pixels."""

import gc
import os
import pickle
import random
import shutil
import time

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from PIL import Image, ImageOps

from dassl.config import get_cfg_default
from dassl.data import DataManager, DatasetWrapper, build_data_loader, cache_folder, picture_cache
from dassl.data.cache_folder import CacheFolder
from dassl.data.data_manager import build_transform
from dassl.data.datasets import Datum
from dassl.utils import ImageError, set_random_seed

N_PICTURES, BATCH = 6, 3
TRAIN = ("random_resized_crop", "random_flip", "normalize")


@pytest.fixture
def data(tmp_path):
    """A data folder with noisy JPEGs of different sizes, one of them turned by EXIF, and a PNG."""
    rng = np.random.default_rng(3)
    for index in range(N_PICTURES):
        picture = Image.fromarray(rng.integers(0, 255, (120 + index, 150 - index, 3), dtype=np.uint8))
        exif = Image.Exif()
        if index == 1:
            exif[0x0112] = 6
        picture.save(tmp_path / f"{index}.{'png' if index == 2 else 'jpg'}", **({} if index == 2 else {"exif": exif}))
    return tmp_path


def config(data, *options):
    cfg = get_cfg_default()
    cfg.merge_from_list(["DATASET.ROOT", str(data), "INPUT.SIZE", (32, 24), "INPUT.TRANSFORMS", TRAIN, "VERBOSE", False])
    cfg.merge_from_list(["DATALOADER.NUM_WORKERS", 0, *options])
    return cfg


def loader_of(data, *options, transform="test", is_train=False, wrapper=None):
    cfg = config(data, *options)
    rows = [Datum(str(path), label) for label, path in enumerate(sorted(data.glob("?.*g")))]
    transform = build_transform(cfg, is_train=transform == "train") if isinstance(transform, str) else transform
    kind = "RandomSampler" if is_train else "SequentialSampler"
    return build_data_loader(cfg, kind, rows, BATCH, tfm=transform, is_train=is_train, dataset_wrapper=wrapper)


def batches(loader, n_epochs=1):
    """The pixels, however they come, of some epochs."""
    set_random_seed(0)
    seen = [value for _ in range(n_epochs) for batch in loader for key, value in batch.items() if key.startswith("img")]
    return [tensor for value in seen for tensor in (value if isinstance(value, list) else [value])]


def same(left, right):
    return len(left) == len(right) > 0 and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def packs(data):
    return sorted((data / ".picture_cache").glob("*.cache"))


class NoDecoding:
    """While it stands, reading a picture from its own file is a failure."""

    def __init__(self, monkeypatch):
        self.patch = monkeypatch

    def __enter__(self):
        def refuse(path):
            raise AssertionError(f"{path} was decoded")

        self.patch.setattr(picture_cache, "read_image", refuse)

    def __exit__(self, *error):
        self.patch.undo()


def turned(picture):
    """A transform of one's own that looks at EXIF."""
    return T.functional.to_tensor(ImageOps.exif_transpose(picture).resize((32, 32)))


CASES = {
    "test": {"transform": "test"},
    "train": {"transform": "train", "is_train": True},
    "several views": {"transform": "train", "is_train": True, "options": ("DATALOADER.K_TRANSFORMS", 2)},
    "img0": {"transform": "test", "options": ("DATALOADER.RETURN_IMG0", True)},
    "a tuple": {"transform": (T.Compose([T.Resize((9, 9)), T.ToTensor()]), T.Compose([T.Resize((7, 8)), T.ToTensor()]))},
    "a list of one": {"transform": [T.Compose([T.Resize((9, 9)), T.ToTensor()])]},
    "shorter side alone": {"transform": T.Compose([T.Resize(40), T.RandomCrop(30), T.ToTensor()])},
    "crop alone": {"transform": T.Compose([T.CenterCrop(200), T.ColorJitter(0.5), T.ToTensor()])},
    "no Compose": {"transform": T.RandomApply([T.Resize((9, 9)), T.ToTensor()], p=1.0)},
}


@pytest.mark.parametrize(("case", "workers"), [*((case, 0) for case in CASES), ("test", 2), ("train", 2)])
def test_batches_are_the_same_without_at_first_and_later(data, case, workers, monkeypatch):
    case = dict(CASES[case])
    options = (*case.pop("options", ()), "DATALOADER.NUM_WORKERS", workers)
    plain = batches(loader_of(data, *options, "DATALOADER.CACHE_GIB", 0.0, **case), 2)
    assert not packs(data)
    first = loader_of(data, *options, **case)
    assert same(plain, batches(first, 2)) and len(packs(data)) == 1
    first.stop_workers()
    with NoDecoding(monkeypatch):
        later = loader_of(data, *options, **case)
        assert same(plain, batches(later, 2))
        later.stop_workers()


def test_without_a_transform_pictures_come_as_they_are_decoded(data):
    wrappers = [DatasetWrapper(config(data, "DATALOADER.CACHE_GIB", gib), [Datum(str(data / "2.png"))]) for gib in (0.0, 1.0, 1.0)]
    plain, first, later = (wrapper[0]["img"] for wrapper in wrappers)
    assert plain.size == later.size == (148, 122) and plain.tobytes() == first.tobytes() == later.tobytes() and len(packs(data)) == 1


def test_a_transform_of_ones_own_still_sees_what_it_looks_at(data):
    plain, first, later = (batches(loader_of(data, "DATALOADER.CACHE_GIB", gib, transform=turned)) for gib in (0.0, 1.0, 1.0))
    assert same(plain, first) and same(plain, later)
    assert not torch.equal(plain[0][1], batches(loader_of(data, transform=T.Compose([T.Resize((32, 32)), T.ToTensor()])))[0][1])


def test_a_transform_that_is_replaced_or_changed_in_place_is_obeyed(data):
    """As trainers do that give a loader's dataset another transform."""
    for is_replaced in (True, False):
        loaders = [loader_of(data, "DATALOADER.CACHE_GIB", gib) for gib in (0.0, 1.0)]
        before = [batches(loader) for loader in loaders]
        for loader in loaders:
            if is_replaced:
                loader.dataset.transform = T.Compose([T.Resize((8, 8)), T.ToTensor()])
            else:
                loader.dataset.transform.transforms[0].size = 64
        after = [batches(loader) for loader in loaders]
        assert same(*before) and same(*after) and not same(before[0], after[0])


def test_a_wrapper_of_ones_own_reads_through_it(data, monkeypatch):
    class Wrapper(DatasetWrapper):
        def __init__(self, cfg, data_source, transform=None, is_train=False):  # calls no __init__ of the base
            self.cfg, self.data_source, self.transform = cfg, data_source, transform
            self.is_train, self.k_tfm, self.return_img0 = is_train, 1, False

        def __getitem__(self, idx):
            return {**super().__getitem__(idx), "twice": 2 * idx}

    plain = batches(loader_of(data, "DATALOADER.CACHE_GIB", 0.0, wrapper=Wrapper))
    assert same(plain, batches(loader_of(data, wrapper=Wrapper)))
    with NoDecoding(monkeypatch):
        assert same(plain, batches(loader_of(data, wrapper=Wrapper)))


def test_a_process_that_is_spawned_opens_the_pack_itself(data, monkeypatch, capfd):
    wrapper = loader_of(data).dataset.dataset
    expected = [wrapper[index]["img"] for index in range(N_PICTURES)]
    sent = pickle.dumps(wrapper)
    del wrapper
    gc.collect()  # closes its file
    with NoDecoding(monkeypatch):
        assert same(expected, [pickle.loads(sent)[index]["img"] for index in range(N_PICTURES)])
    assert "NOTE" not in capfd.readouterr().out


def test_a_process_that_is_spawned_looks_at_no_picture_but_those_it_reads(data, monkeypatch):
    wrapper = loader_of(data).dataset.dataset
    expected = wrapper[0]["img"]
    sent, looked_at, real = pickle.dumps(wrapper), [], picture_cache.stamp_of
    monkeypatch.setattr(picture_cache, "stamp_of", lambda path: looked_at.append(path) or real(path))
    with NoDecoding(monkeypatch):
        assert torch.equal(expected, pickle.loads(sent)[0]["img"])
    assert set(looked_at) <= {str(data / "0.jpg")}


@pytest.mark.parametrize("reason", ["too long", "no room"])
def test_a_process_that_is_spawned_is_not_told_again_that_nothing_is_kept(data, reason, monkeypatch, capfd):
    if reason == "too long":
        monkeypatch.setattr(picture_cache, "MAX_PICTURES", 5)
    wrapper = loader_of(data, "DATALOADER.CACHE_GIB", 1e-6 if reason == "no room" else 1.0).dataset.dataset
    wrapper.open_pictures()
    assert capfd.readouterr().out.count("NOTE") == 1
    received = [pickle.loads(pickle.dumps(wrapper)) for _ in range(2)]
    assert torch.equal(received[0][0]["img"], received[1][0]["img"]) and not capfd.readouterr().out


def test_a_long_list_is_told_once_before_it_is_looked_at(data, monkeypatch, capfd):
    monkeypatch.setattr(picture_cache, "MANY_PICTURES", N_PICTURES)
    monkeypatch.setattr(picture_cache, "_N_AT_ONCE", 4)
    loader = loader_of(data)
    digest = loader.dataset.digest()
    batches(loader)
    assert loader.dataset.digest() == digest and capfd.readouterr().out.count("Looking at 6 pictures") == 1
    monkeypatch.undo()
    assert loader_of(data).dataset.digest() == digest


def test_a_pack_is_marked_as_used_during_a_pass(data, monkeypatch):
    loader = loader_of(data)
    batches(loader)
    monkeypatch.setattr(picture_cache, "_MARK_SECONDS", 0.0)
    (pack,) = packs(data)
    for index, _ in enumerate(loader):
        assert index == 0 or time.time() - pack.stat().st_mtime < 600
        os.utime(pack, (1, 1))


def test_a_picture_that_changes_or_vanishes_is_never_read_from_the_cache(data):
    loader = loader_of(data)
    before = batches(loader)
    stamp = (data / "0.jpg").stat()
    Image.new("RGB", (50, 50), (9, 9, 9)).save(data / "0.jpg")
    os.utime(data / "0.jpg", ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    plain = batches(loader_of(data, "DATALOADER.CACHE_GIB", 0.0))
    assert not same(before, plain)
    assert same(plain, batches(loader)), "in a run that has begun"
    assert same(plain, batches(loader_of(data))), "and in the next"
    (data / "3.jpg").unlink()
    with pytest.raises(ImageError, match="no picture at .*3.jpg"):
        batches(loader)


def test_packs_follow_the_data_folder_when_it_is_moved(data, tmp_path_factory, monkeypatch):
    plain = batches(loader_of(data))
    moved = tmp_path_factory.mktemp("elsewhere") / "data"
    shutil.move(data, moved)
    with NoDecoding(monkeypatch):
        assert same(plain, batches(loader_of(moved)))


@pytest.mark.parametrize("damage", ["a byte", "a hole", "truncated", "head", "sizes", "empty", "a pipe", "a folder", "a link"])
def test_a_damaged_pack_is_made_anew(data, damage, monkeypatch, capfd):
    plain = batches(loader_of(data, transform="train", is_train=True))
    (pack,) = packs(data)
    whole = pack.read_bytes()
    middle = len(whole) // 2
    if damage == "a byte":
        pack.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    elif damage == "a hole":
        pack.write_bytes(whole[: middle - 4000] + bytes(8000) + whole[middle + 4000 :])
    elif damage == "truncated":
        os.truncate(pack, middle)
    elif damage == "head":
        pack.write_bytes(b"x" + whole[1:])
    elif damage == "sizes":  # with a checksum that fits
        sizes = np.full((N_PICTURES, 2), 2**20 - 1, dtype="<u4").tobytes()
        pack.write_bytes(whole[:16] + sizes + picture_cache._checksum(sizes) + whole[16 + len(sizes) + 4 :])
    elif damage == "empty":
        pack.write_bytes(b"")
    else:
        pack.unlink()
        (data / "precious").write_bytes(b"precious")
        {"a pipe": os.mkfifo, "a folder": os.mkdir, "a link": lambda path: path.symlink_to(data / "precious")}[damage](pack)
    loader = loader_of(data, transform="train", is_train=True)
    assert same(plain, batches(loader))
    if damage == "a folder":  # is in the way, and nothing of it is removed
        assert pack.is_dir() and capfd.readouterr().out.count("goes on without the cache") == 1
        return
    with NoDecoding(monkeypatch):
        assert same(plain, batches(loader))
    if damage not in ("a pipe", "a link"):
        assert pack.read_bytes() == whole
    else:
        assert (data / "precious").read_bytes() == b"precious"


def test_those_unused_for_longest_make_room(data, capfd):
    size = 16 + 8 * N_PICTURES + 4 + N_PICTURES * (4 + 3 * 32 * 24)
    limit = ("DATALOADER.CACHE_GIB", 2.5 * size / 2**30)

    def test_with(saturation, *options):
        transform = T.Compose([T.Resize(32 + saturation), T.CenterCrop((32, 24)), T.ToTensor()])
        batches(loader_of(data, *options, transform=transform))
        return set(packs(data))

    first = test_with(0, *limit)
    second = test_with(1, *limit) - first
    test_with(2, *limit)
    assert set(packs(data)) == first | second, "both were used within the hour"
    told = capfd.readouterr().out
    assert told.count("NOTE: the pixels of 6 pictures are not kept in") == 1 and "were in use within the last hour" in told
    for pack, age in ((*first, 9000), (*second, 8000)):
        os.utime(pack, (time.time() - age,) * 2)
    assert not first & test_with(2, *limit) and second < set(packs(data))
    for pack in packs(data):
        os.utime(pack, (1, 1))
    test_with(1, *limit)
    (left,) = second
    assert time.time() - left.stat().st_mtime < 600, "reading is use"
    test_with(3, "DATALOADER.CACHE_GIB", size / 2 / 2**30)
    assert "GiB are needed, and 0.00 GiB allowed (DATALOADER.CACHE_GIB)" in capfd.readouterr().out


def test_half_of_the_free_disk_is_left(data, monkeypatch, capfd):
    monkeypatch.setattr(cache_folder.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 20_000))
    assert same(batches(loader_of(data)), batches(loader_of(data, "DATALOADER.CACHE_GIB", 0.0))) and not packs(data)
    assert "more than half of the 0.00 GiB that are free there" in capfd.readouterr().out


def nothing(file):
    """Writes no row of a pack."""


def free_disk(monkeypatch, n_bytes):
    monkeypatch.setattr(cache_folder.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, n_bytes))


def test_what_is_promised_to_packs_is_not_free_for_another(tmp_path, monkeypatch, capfd):
    folder, n_bytes = CacheFolder(str(tmp_path), 10**9), 4 * 10**6
    free_disk(monkeypatch, 10**7)
    assert folder.create("first", n_bytes, nothing, "rows") and not folder.create("second", n_bytes, nothing, "rows")
    assert "free there and not promised to other kept files" in capfd.readouterr().out
    (tmp_path / "first.cache").write_bytes(bytes([1]) * n_bytes)
    assert folder.create("second", n_bytes, nothing, "rows"), "what is written counts in what is free alone"


def test_nothing_is_removed_for_a_pack_that_does_not_fit(tmp_path, monkeypatch, capfd):
    folder = CacheFolder(str(tmp_path), 1000)
    for name, age in (("old", 9000), ("new", 0)):
        folder.create(name, 400, lambda file: file.write(bytes([1]) * 400), "rows")
        os.utime(tmp_path / f"{name}.cache", (time.time() - age,) * 2)
    assert not folder.create("more", 700, nothing, "rows") and "were in use within the last hour" in capfd.readouterr().out
    free_disk(monkeypatch, 10)
    assert not folder.create("more", 500, nothing, "rows") and "free there" in capfd.readouterr().out
    assert sorted(os.listdir(tmp_path)) == ["new.cache", "old.cache"]
    free_disk(monkeypatch, 10**6)
    assert folder.create("more", 500, nothing, "rows") and sorted(os.listdir(tmp_path)) == ["more.cache", "new.cache"]


def test_files_that_are_made_at_once_stay_within_the_bound_together(tmp_path, capfd):
    folder = CacheFolder(str(tmp_path), 1000)

    def meanwhile(file):
        assert not folder.create("second", 700, nothing, "other rows") and "other rows are not kept" in capfd.readouterr().out
        assert folder.create("first", 600, nothing, "rows"), "which another run makes as well"

    assert folder.create("first", 600, meanwhile, "rows") and os.listdir(tmp_path) == ["first.cache"]


def test_a_file_is_not_kept_where_another_has_come_since_it_was_looked(tmp_path, monkeypatch, capfd):
    folder, make_room = CacheFolder(str(tmp_path), 1000), CacheFolder._make_room

    def slow(self, name, n_bytes):
        make_room(self, name, n_bytes)
        if name == "first":
            assert folder.create("second", 700, nothing, "other rows")

    monkeypatch.setattr(CacheFolder, "_make_room", slow)
    assert not folder.create("first", 600, nothing, "rows") and "are in use or cannot be removed" in capfd.readouterr().out
    assert os.listdir(tmp_path) == ["second.cache"] and folder.is_on


def test_what_cannot_be_removed_stays_and_others_go(tmp_path, capfd):
    folder = CacheFolder(str(tmp_path), 10**6)
    (tmp_path / "first.cache").mkdir()
    folder.create("second", 700_000, nothing, "rows")
    for age, name in ((9000, "first"), (8000, "second")):
        os.utime(tmp_path / f"{name}.cache", (time.time() - age,) * 2)
    assert folder.create("third", 700_000, nothing, "rows")
    assert sorted(os.listdir(tmp_path)) == ["first.cache", "third.cache"] and not capfd.readouterr().out


def test_a_file_of_another_user_that_stays_is_told_and_the_cache_goes_on(tmp_path, monkeypatch, capfd):
    folder = CacheFolder(str(tmp_path), 1000)
    folder.create("theirs", 700, nothing, "rows")
    os.utime(tmp_path / "theirs.cache", (1, 1))

    def refuse(path):
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(cache_folder.os, "unlink", refuse)
    assert not folder.create("ours", 700, nothing, "rows") and folder.is_on
    assert "are in use or cannot be removed" in capfd.readouterr().out


@pytest.mark.parametrize("workers", [0, 2])
def test_a_disk_that_fills_up_is_told_once_and_the_run_goes_on(data, workers, monkeypatch, capfd):
    plain = batches(loader_of(data, "DATALOADER.CACHE_GIB", 0.0), 2)
    loader = loader_of(data, "DATALOADER.NUM_WORKERS", workers)
    loader.dataset.open_pictures()
    monkeypatch.setattr(picture_cache.os, "pwrite", lambda *arguments: 0)
    assert same(plain, batches(loader, 2))
    assert capfd.readouterr().out.count("No space left on device") == 1


def test_a_folder_that_cannot_be_made_is_told_once(data, capfd):
    (data / "file").write_text("")
    options = ("DATALOADER.CACHE_DIR", str(data / "file" / "cache"))
    plain = batches(loader_of(data, "DATALOADER.CACHE_GIB", 0.0), 2)
    for _ in range(2):
        assert same(plain, batches(loader_of(data, *options), 2))
    assert capfd.readouterr().out.count("NOTE: the run goes on without the cache") == 1


def test_an_unreadable_picture_is_told_as_without(data):
    (data / "4.jpg").write_bytes((data / "4.jpg").read_bytes()[:3000])
    for transform in ("test", "train"):
        with pytest.raises(ImageError, match="cannot decode the picture .*4.jpg"):
            batches(loader_of(data, transform=transform))


def test_a_list_too_long_is_told(data, monkeypatch, capfd):
    monkeypatch.setattr(picture_cache, "MAX_PICTURES", 5)
    batches(loader_of(data))
    assert "6 pictures are decoded each time they are read; lists of up to 5 are kept" in capfd.readouterr().out and not packs(data)


def test_a_folder_of_ones_own_and_no_data_folder(data, tmp_path_factory, monkeypatch):
    own = tmp_path_factory.mktemp("own")
    (own / "deep").mkdir()
    for name in ("labels.cache", "film.mkv.part"):
        (own / "deep" / name).write_text("somebody's")
        os.utime(own / "deep" / name, (1, 1))
    batches(loader_of(data, "DATALOADER.CACHE_DIR", str(own / "deep"), "DATALOADER.CACHE_GIB", 0.0001))
    assert sorted(os.listdir(own / "deep")) == [".picture_cache", "film.mkv.part", "labels.cache"], (
        "what is not ours is not removed to make room"
    )
    assert len(list((own / "deep" / ".picture_cache").iterdir())) == 1 and not packs(data)
    monkeypatch.chdir(own)
    batches(loader_of(data, "DATASET.ROOT", ""))
    assert os.listdir(own) == ["deep"]


def test_what_a_killed_run_left_unfinished_is_removed(data):
    folder = data / ".picture_cache"
    folder.mkdir()
    for name, age in (("old", 7200), ("new", 0)):
        (folder / f"{name}.cache.0.part").write_text("half")
        os.utime(folder / f"{name}.cache.0.part", (time.time() - age,) * 2)
    batches(loader_of(data))
    assert [path.name for path in folder.glob("*.part")] == ["new.cache.0.part"]


def test_random_draws_are_those_of_a_run_without(build, tmp_path):
    """A run gives the same models, and goes on with another setting as the same run."""
    weights = []
    for name, first, second in (("a", 0.0, 0.0), ("b", 1.0, 0.0), ("c", 0.0, 1.0)):
        build(tmp_path / name, "DATALOADER.CACHE_GIB", first, "OPTIM.MAX_EPOCH", 1).train()
        trainer = build(tmp_path / name, "DATALOADER.CACHE_GIB", second, "OPTIM.MAX_EPOCH", 2)
        trainer.train()
        assert trainer.start_epoch == 1
        weights.append((trainer.model.state_dict(), random.random(), torch.rand(()).item()))
    for other in weights[1:]:
        assert all(torch.equal(other[0][key], value) for key, value in weights[0][0].items()) and other[1:] == weights[0][1:]


def test_the_manager_of_data_says_where_they_are_kept_if_they_are(root, tmp_path, capsys):
    import engine_world

    cfg = engine_world.config(root, tmp_path, ["DATALOADER.CACHE_DIR", str(tmp_path / "cache"), "VERBOSE", True])
    DataManager(cfg)
    assert "are kept in" in capsys.readouterr().out
    cache_folder.cache_folder_of(cfg).give_up(OSError(28, "No space left on device"))
    DataManager(cfg)
    assert "are kept in" not in capsys.readouterr().out


def test_another_version_of_what_decodes_makes_another_pack(data, monkeypatch):
    """AVIF is known to a new Pillow alone."""
    real, seen = picture_cache.features.version, set()
    known = {*picture_cache.features.modules, *picture_cache.features.codecs}
    names = sorted(known & {"jpg", "webp", "jpg_2000", "libtiff", "avif"})
    for changed in (None, *names):
        monkeypatch.setattr(picture_cache.features, "version", lambda name, changed=changed: "0" if name == changed else real(name))
        seen.add(loader_of(data).dataset.digest())
    assert len(seen) == 1 + len(names) >= 5


def test_the_manager_of_data_keeps_them(root, tmp_path, monkeypatch):
    import engine_world

    cfg = engine_world.config(root, tmp_path, ["DATALOADER.CACHE_DIR", str(tmp_path / "cache")])
    first = batches(DataManager(cfg).test_loader)
    with NoDecoding(monkeypatch):
        assert same(first, batches(DataManager(cfg).test_loader))
