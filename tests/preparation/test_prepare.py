"""tools/prepare.py from a server on this machine to what the readers read: every dataset's true archive layout, and everything that servers do wrong."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from clip import download as downloading
from dassl.data.datasets import DATASET_REGISTRY
from preparation import arrange
from preparation.extract import extract
from preparation.sources import TABLE_PATH, load_table
from tests.preparation.archives import READERS, zipped
from tests.preparation.world import World, leftovers
from tools import doctor, prepare

FREE = tuple(name for name in READERS if name != "imagenet")


# Every dataset


@pytest.mark.parametrize("name", FREE)
def test_a_dataset_comes_by_one_command(name: str, world: World, capsys: pytest.CaptureFixture) -> None:
    split = world.lay_out(name)
    assert world.run(name) == 0, capsys.readouterr()
    folder = "/".join(part for part in (datasets_folder(name), image_folder(name)) if part)
    for rows, part in zip(world.rows(name), ("train", "val", "test"), strict=True):
        assert sorted(rows) == sorted(f"{folder}/{path}" for path, _, _ in split[part])
    assert leftovers(world.root) == []
    assert [str(path) for path in (world.root / ".downloads").rglob("*")] == [
        f"{world.root}/.downloads/.locks",
        f"{world.root}/.downloads/.locks/{name}.lock",
    ]
    n_requests = len(world.server.requests)
    assert world.run(name) == 0 and len(world.server.requests) == n_requests  # all is there
    assert f"{name}: all is there" in capsys.readouterr().out


def datasets_folder(name: str) -> str:
    return DATASET_REGISTRY.get(READERS[name]).dataset_dir


def image_folder(name: str) -> str:
    return DATASET_REGISTRY.get(READERS[name]).image_dir


@pytest.mark.parametrize("name", [name for name in FREE if name != "ucf101" and name not in ("fgvc_aircraft", "imagenet_a", "imagenet_r")])
def test_the_mirror_serves_as_well(name: str, world: World, capsys: pytest.CaptureFixture) -> None:
    world.lay_out(name)
    first, *others = world.table[name]["files"][0]["sources"]
    assert others
    for path in [path for path in world.server.files if path.startswith(f"/{name}/0/") or path == f"/drive/{first.get('drive')}"]:
        del world.server.files[path]
    if "hub" in first:
        world.server.files = {path: content for path, content in world.server.files.items() if "/resolve/" not in path}
    if name == "stanford_cars":  # Kaggle's copy, in which each folder lies in one of its own name
        made = world.folder / "made/stanford_cars"
        kaggle = {f"{p.parent.name}/{p.parent.name}/{p.name}": p.read_bytes() for p in made.rglob("*.jpg")} | {
            "car_devkit/devkit/a.mat": b"x"
        }
        world.server.files["/stanford_cars/1/cars_train.tgz"] = zipped(kaggle)
    assert world.run(name) == 0, capsys.readouterr()
    assert all(world.rows(name)[::2])
    assert "Failed: " in capsys.readouterr().out


def test_imagenet_is_told_and_taken_from_a_folder(world: World, capsys: pytest.CaptureFixture) -> None:
    split = world.lay_out("imagenet")
    assert world.run("imagenet") == 1
    told = capsys.readouterr().err
    for part in ("ILSVRC2012_img_train.tar could not be had", "image-net.org", "--from FOLDER", "needs an account"):
        assert part in told
    by_hand = world.folder / "by hand"
    by_hand.mkdir()
    for name, content in world.archives.items():
        (by_hand / name).write_bytes(content)
    assert world.run("imagenet", "--from", str(by_hand)) == 0
    assert sorted(world.rows("imagenet")[0]) == sorted(f"imagenet/images/{path}" for path, _, _ in split["train"])
    found = {Path(path).parent.name: 0 for path in world.rows("imagenet")[2]}
    for path in world.rows("imagenet")[2]:
        found[Path(path).parent.name] += 1
    assert list(found.values()) == [sum(row[1] == label for row in split["test"]) for label in range(5)]
    last = max(world.rows("imagenet")[2], key=lambda path: Path(path).name)
    assert Path(last).parent.name == "n01440764"  # the devkit's order, not the order of the numbers
    assert len(list(by_hand.iterdir())) == 3  # the archives stay
    names = (world.root / "imagenet/classnames.txt").read_text().splitlines()
    assert len(names) == 1000 and names[0] == "n01440764 tench" and names == sorted(names)


def test_validation_pictures_without_class_folders_are_sorted_in_place(world: World, capsys: pytest.CaptureFixture) -> None:
    world.lay_out("imagenet")
    by_hand = world.folder / "by hand"
    by_hand.mkdir()
    for name, content in world.archives.items():
        (by_hand / name).write_bytes(content)
    world.run("imagenet", "--from", str(by_hand))
    val = world.root / "imagenet/images/val"
    expected = sorted(path.relative_to(val) for path in val.rglob("*.JPEG"))
    for path in [*val.rglob("*.JPEG")][2:]:  # as unpacked by hand, and two already moved
        path.rename(val / path.name)
    world.run("imagenet")
    assert sorted(path.relative_to(val) for path in val.rglob("*.JPEG")) == expected


def test_imagenet_s_class_names_serve_its_variants(world: World) -> None:
    world.lay_out("imagenet_a")
    own = world.root / "imagenet/classnames.txt"
    own.parent.mkdir(parents=True)
    own.write_text((Path(TABLE_PATH).parent / "imagenet_classnames.txt").read_text().replace("tench", "another name"))
    assert world.run("imagenet_a") == 0
    assert not (world.root / "imagenet-adversarial/classnames.txt").exists() and all(world.rows("imagenet_a")[2])


def test_class_names_that_are_nowhere_are_put_beside_a_variant_s_pictures(world: World, capsys: pytest.CaptureFixture) -> None:
    world.lay_out("imagenet_a")
    assert world.run("imagenet_a") == 0
    (world.root / "imagenet-adversarial/classnames.txt").unlink()
    n_requests = len(world.server.requests)
    assert world.run("imagenet_a") == 0, capsys.readouterr()  # which asks the doctor
    assert (world.root / "imagenet-adversarial/classnames.txt").is_file() and len(world.server.requests) == n_requests


# What servers do wrong


@pytest.mark.parametrize("behaviour", ["404", "403", "503", "page", "silent", "drip", "wrong", "short", "cut, no ranges"])
def test_each_failure_names_its_source_and_the_next_is_tried(behaviour: str, world: World, capsys: pytest.CaptureFixture) -> None:
    world.lay_out("eurosat")
    world.server.behaviour["/eurosat/0/EuroSAT.zip"] = behaviour
    assert world.run("eurosat") == 0
    told = capsys.readouterr().out
    failed, fetched = (
        told.index(f"Failed: {world.server.url}/eurosat/0/EuroSAT.zip"),
        told.index("from the hub (torchgeo/eurosat/EuroSAT.zip)"),
    )
    assert failed < fetched
    assert len(world.rows("eurosat")[0]) == 54 and leftovers(world.root) == []


def test_without_any_source_all_are_named_and_what_is_whole_stays(world: World, capsys: pytest.CaptureFixture) -> None:
    world.lay_out("eurosat")
    hub = "/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip"
    world.server.behaviour |= {"/eurosat/0/EuroSAT.zip": "cut, no ranges", hub: "500"}
    assert world.run("eurosat") == 1
    told = capsys.readouterr().err
    for part in (
        "EuroSAT.zip could not be had",
        "ended after 1,000 of",
        "the hub (torchgeo/eurosat/EuroSAT.zip)",
        "--from FOLDER",
        "phelber/EuroSAT",
    ):
        assert part in told
    assert world.contents() == ["eurosat/split_zhou_EuroSAT.json"]
    assert [p.suffix for p in leftovers(world.root)] and not (world.root / ".downloads/eurosat/EuroSAT.zip").exists()
    world.server.behaviour.clear()
    assert world.run("eurosat") == 0
    assert world.server.asked("/eurosat/0/EuroSAT.zip")[-1]["Range"] == "bytes=1000-"  # went on
    assert leftovers(world.root) == []


def test_drive_is_read_behind_its_page_and_its_refusal_is_told(world: World, capsys: pytest.CaptureFixture) -> None:
    world.lay_out("ucf101")
    path = "/drive/10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O"
    world.server.behaviour[path] = "refused"
    assert world.run("ucf101") == 1
    told = capsys.readouterr().err
    assert (
        "Google Drive (id 10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O)" in told
        and "Too many users" in told
        and "10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O" in told
    )
    world.server.behaviour[path] = "cut once"
    assert world.run("ucf101") == 0
    assert world.server.asked(path)[-1]["Range"] == "bytes=1000-"


@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html><html>", b'{"train": []}', b"[1", b'{"train": [], "val": [], "test": [["../../x", 0, "a"]]}']
)
def test_a_split_file_that_is_none_is_not_kept(content: bytes, world: World, capsys: pytest.CaptureFixture) -> None:
    world.lay_out("eurosat")
    world.server.files["/drive/1Ip7yaCWFi0eaOFUGga0lUdVi_DDQth1o"] = content
    assert world.run("eurosat") == 1
    assert "split_zhou_EuroSAT.json could not be had" in capsys.readouterr().err
    assert not (world.root / "eurosat/split_zhou_EuroSAT.json").exists() and (world.root / "eurosat/2750").is_dir()


def test_a_damaged_archive_of_unknown_hash_is_thrown_away(world: World, capsys: pytest.CaptureFixture) -> None:
    world.lay_out("imagenetv2")
    hub = "/datasets/vaishaal/ImageNetV2/resolve/main/imagenetv2-matched-frequency.tar.gz"
    whole = world.server.files[hub]
    world.server.files[hub] = whole[: len(whole) // 2]
    assert world.run("imagenetv2") == 0
    assert (
        "Failed: the hub (vaishaal/ImageNetV2/imagenetv2-matched-frequency.tar.gz): imagenetv2-matched-frequency.tar.gz is damaged"
        in capsys.readouterr().out
    )


def test_offline_nothing_is_tried(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    world.lay_out("eurosat")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert world.run("eurosat") == 1
    assert "HF_HUB_OFFLINE is set: no source was tried" in capsys.readouterr().err and world.server.requests == []
    by_hand = world.folder / "by hand"
    by_hand.mkdir()
    for name, content in world.archives.items():
        (by_hand / name).write_bytes(content)
    assert world.run("eurosat", "--from", str(by_hand)) == 0 and world.server.requests == []


def test_a_file_fetched_by_hand_is_held_against_its_hash(world: World, capsys: pytest.CaptureFixture) -> None:
    world.lay_out("eurosat")
    (world.folder / "hand").mkdir()
    (world.folder / "hand/EuroSAT.zip").write_bytes(b"PK, but not it")
    assert world.run("eurosat", "--from", str(world.folder / "hand")) == 0  # the next source serves
    assert f"Failed: {world.folder}/hand/EuroSAT.zip: it has 14 bytes" in capsys.readouterr().out
    assert (world.folder / "hand/EuroSAT.zip").exists()


# Room, locks, and what is there


def test_room_is_asked_for_before_unpacking_and_the_archive_stays(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    world.lay_out("eurosat")
    usage = namedtuple("usage", "total used free")
    size = len(world.archives["EuroSAT.zip"])
    with monkeypatch.context() as patch:  # room for the archive, not for what is in it
        patch.setattr(downloading.shutil, "disk_usage", lambda _: usage(10**9, 0, downloading.SPARE_BYTES + size + 10))
        assert world.run("eurosat") == 1
    told = capsys.readouterr().err
    assert "unpacking EuroSAT.zip needs" in told and "make room" in told
    assert (world.root / ".downloads/eurosat/EuroSAT.zip").is_file() and not (world.root / "eurosat/2750").exists()
    assert world.run("eurosat") == 0
    assert len(world.server.asked("/eurosat/0/EuroSAT.zip")) == 1  # the archive was whole and stayed


def test_a_run_that_was_killed_while_unpacking_leaves_nothing_that_is_taken_for_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.lay_out("eurosat")
    half = world.root / "eurosat/.unpacking-abc/2750/ash"
    half.mkdir(parents=True)
    (half / "x.jpg").write_bytes(b"half")
    assert world.run("eurosat") == 0
    assert not half.exists() and len(world.rows("eurosat")[0]) == 54
    half.mkdir(parents=True)  # killed while it replaced what is there
    assert world.run("eurosat") == 0 and not half.exists()
    assert len(world.server.asked("/eurosat/0/EuroSAT.zip")) == 1


def test_an_interrupted_run_says_in_a_line_that_it_can_go_on(world: World) -> None:
    world.lay_out("eurosat")
    world.server.behaviour["/eurosat/0/EuroSAT.zip"] = "silent"
    world.run("eurosat", "--list")  # writes the table
    command = [sys.executable, str(TABLE_PATH.parents[1] / "tools/prepare.py"), "eurosat", "--root", str(world.root)]
    command += ["--sources", str(world.folder / "table.yaml")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not world.server.asked("/eurosat/0/EuroSAT.zip"):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told.strip()) == (130, "Interrupted; what has come is kept, and the same command goes on from there.")


def test_two_at_once_do_not_harm_each_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.lay_out("eurosat")
    unpacking: list[int] = []

    def slowly(*arguments: Any) -> None:
        unpacking.append(1)
        time.sleep(0.2)  # time enough for another run to come along
        extract(*arguments)

    monkeypatch.setattr(arrange, "extract", slowly)
    world.run("eurosat", "--list")  # writes the tables
    results: list[int] = []
    arguments = [
        "eurosat",
        "--root",
        str(world.root),
        "--sources",
        str(world.folder / "table.yaml"),
        "--counts",
        str(world.folder / "counts.yaml"),
    ]
    threads = [threading.Thread(target=lambda: results.append(prepare.main(arguments))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0, 0, 0] and unpacking == [1] and len(world.server.asked("/eurosat/0/EuroSAT.zip")) == 1
    assert len(world.rows("eurosat")[0]) == 54 and leftovers(world.root) == []


def test_what_is_there_stays_unless_force_is_given(world: World) -> None:
    world.lay_out("eurosat")
    own = world.root / "eurosat/2750/own.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    world.run("eurosat")
    assert own.read_text() == "mine" and (world.root / "eurosat/split_zhou_EuroSAT.json").is_file()
    assert world.run("eurosat", "--force", "--keep-archives") == 0
    assert not own.exists() and (world.root / ".downloads/eurosat/EuroSAT.zip").is_file()
    assert len(world.rows("eurosat")[0]) == 54


def test_several_datasets_fail_and_succeed_apart(world: World, capsys: pytest.CaptureFixture) -> None:
    for name in ("dtd", "imagenet_a"):
        world.lay_out(name)
    world.server.files = {path: content for path, content in world.server.files.items() if not path.startswith("/dtd/")}
    assert world.run("--all") == 1
    assert "Error: dtd is not complete" in capsys.readouterr().err
    assert all(world.rows("imagenet_a")[2])


# The command line and the table


def test_the_list_tells_every_dataset(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert prepare.main(["--list", "imagenet_sketch", "--root", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    for dataset in load_table().values():
        assert dataset.name in told and dataset.page in told and dataset.licence in told
    sizes = {cells[1].strip(): cells[3].strip() for cells in (line.split("│") for line in told.splitlines()) if len(cells) > 3}
    assert (sizes["eurosat"], sizes["food101"], sizes["sun397"], sizes["ucf101"]) == ("94 MB", "5.0 GB", "39.1 GB", "not known")
    total = re.search(r"known size: (\S+ GB) in all, (\S+ GB) for what is not all there. Size not known: (.*)", told)
    assert total is not None
    assert total[1] == total[2] == f"{sum(d.known_bytes() for d in load_table().values()) / 1e9:.1f} GB"
    assert total[3] == "caltech101, fgvc_aircraft, ucf101, imagenet, imagenetv2, imagenet_sketch"
    assert (
        "ImageNet-Sketch.zip\n    Google Drive (id 1Mj0i5HBthqH1p_yeXzsg22gZduvgoNeA)\n    the hub (songweig/imagenet_sketch/data/ImageNet-Sketch.zip)"
        in told
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eurosta"], "unknown dataset 'eurosta'. Did you mean eurosat? Known: caltech101, "),
        ([], "nothing to do"),
        (["eurosat", "--from", "nowhere"], "--from nowhere is no folder"),
        (["eurosat", "--sources", "nowhere.yaml"], "nowhere.yaml cannot be read"),
    ],
)
def test_what_cannot_be_obeyed_is_told(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert prepare.main([*arguments, "--root", str(tmp_path / "data")]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "data").exists()


@pytest.mark.parametrize("program", [prepare, doctor])
def test_a_data_folder_that_cannot_be_is_told(program: Any, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").touch()
    for root, message in (
        (tmp_path / "file", "which is not a folder"),
        (tmp_path / ("a" * 300), "which cannot be looked at (File name too long)"),
    ):
        assert program.main(["eurosat", "--root", str(root)]) == 2
        assert message in capsys.readouterr().err


def test_shapes_needs_nothing(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert prepare.main(["shapes", "--root", str(tmp_path)]) == 0
    assert "drawn on first use" in capsys.readouterr().out
