"""What a run says when the machine fails it: disks, folders, memory, loading processes. Real runs, and real failures where root may make them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from dassl.engine.failures import explain
from datasets import shapes
from tests.reliability.conftest import Bench, Started, outcome
from tests.reliability.same import assert_same
from tests.trainers.small_runs import config


def ended_badly(run: Started, *parts: str) -> None:
    """It ended with status 2 and a message with these parts, and no traceback."""
    status, text = run.wait(), run.text
    assert status == 2, text
    assert "Traceback" not in text, text
    for part in parts:
        assert part in text, text


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_and_then_room(bench: Bench, whole: dict[str, Any], small_disk: Path) -> None:
    """The disk fills up during the run; with room made, the same command goes on to the same end."""
    run = bench.start(small_disk / "run")
    run.wait_for("Checkpoint saved to")
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError):
        ballast.write_bytes(bytes(2**20))
    ended_badly(run, "the disk is full", "Make room", "the same command goes on from the last checkpoint")
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert bench.run(small_disk / "run")[0] == 0
    assert_same(outcome(small_disk / "run"), whole, "after a full disk")


def test_a_file_that_may_not_grow(bench: Bench, tmp_path: Path) -> None:
    ended_badly(bench.start(tmp_path / "run", limits={"RLIMIT_FSIZE": 60_000}), "larger than allowed here (see `ulimit -f`)")
    assert not list((tmp_path / "run").rglob("*.part"))


def test_a_folder_that_may_not_be_written(bench: Bench, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can start a run as a user who may not write")
    for folder in (tmp_path, *tmp_path.parents):  # pytest's folders are its user's alone
        if not folder.stat().st_mode & 0o001:
            folder.chmod(0o755)
    (tmp_path / "locked").mkdir(mode=0o555)
    run = bench.start(tmp_path / "locked", user=65534)
    ended_badly(run, str(tmp_path / "locked"), "permission denied. Give a folder that can be written (--output-dir")


def test_a_folder_below_a_file(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended_badly(bench.start(tmp_path / "file" / "run"), f"{tmp_path / 'file'} is there and is no folder")


@pytest.mark.parametrize("workers", [0, 1])
def test_pictures_that_vanish(bench: Bench, tmp_path: Path, workers: int) -> None:
    subprocess.run(["cp", "-r", bench.data, tmp_path / "data"], check=True)
    run = bench.start(tmp_path / "run", "DATASET.ROOT", tmp_path / "data", "DATALOADER.NUM_WORKERS", workers)
    run.wait_for("epoch [1/3] batch [5/5]")
    (tmp_path / "data").rename(tmp_path / "gone")
    ended_badly(run, "no picture at", str(tmp_path / "data"), "check DATASET.ROOT")


def test_a_run_folder_that_vanishes(bench: Bench, tmp_path: Path) -> None:
    run = bench.start(tmp_path / "run", "OPTIM.MAX_EPOCH", 100)
    run.wait_for("epoch [1/100] batch [1/5]")
    (tmp_path / "run").rename(tmp_path / "gone")
    ended_badly(run, "metrics.jsonl: it is gone", "Start the run again")


def test_a_killed_loading_process(bench: Bench, whole: dict[str, Any], tmp_path: Path) -> None:
    run = bench.start(tmp_path / "run", "DATALOADER.NUM_WORKERS", 1)
    run.wait_for("epoch [2/3] batch [1/5]")
    run.send(signal.SIGSTOP)
    for worker in subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True, check=True).stdout.split():
        os.kill(int(worker), signal.SIGKILL)
    run.send(signal.SIGCONT)
    ended_badly(run, "the loading process", "DATALOADER.NUM_WORKERS (now 1) to fewer or to 0", "goes on from the last checkpoint")
    assert bench.run(tmp_path / "run")[0] == 0
    assert_same(outcome(tmp_path / "run"), whole, "after a killed worker")


def test_too_little_memory() -> None:
    """What PyTorch and Python really raise, for more than any machine has."""
    cfg = config("MPL", Path("data"), "w.pt", Path("out"))
    for ask in (lambda: torch.empty(2**55), lambda: bytearray(2**62)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            ask()
        told = explain(caught.value, cfg)
        for part in ("out of memory (RAM)", "DATALOADER.TRAIN_X.BATCH_SIZE (now 4)", "DATASET.SUBSAMPLE_CLASSES", "NUM_WORKERS"):
            assert part in told


def test_a_gpu_without_memory_left() -> None:
    """The message of PyTorch for a GPU; raising it needs none."""
    cfg = config("MPL", Path("data"), "w.pt", Path("out"))
    told = explain(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79 GiB"), cfg)
    for part in (
        "the GPU is out of memory (CUDA out of memory)",
        "BATCH_SIZE (now 4)",
        "PREC amp or fp16",
        "SUBSAMPLE_CLASSES",
        "now 'all'",
    ):
        assert part in told
    assert explain(RuntimeError("a mistake of the program"), cfg) == ""


@pytest.mark.parametrize(
    ("number", "name", "parts"),
    [
        (errno.ENOSPC, "out/metrics.jsonl", ["out/metrics.jsonl: the disk is full. Make room", "goes on from the last checkpoint"]),
        (errno.EDQUOT, None, ["out: the disk quota is used up. Make room"]),
        (errno.EFBIG, b"out/a", ["out/a: the file would be larger than allowed here"]),
        (errno.EROFS, "out/a", ["out/a: it is on a read-only file system. Give a folder that can be written (--output-dir"]),
        (errno.EACCES, "/data/a", ["/data/a: permission denied. Name another place, or change the rights"]),
        (errno.EIO, "out/a", ["out/a: the disk or the network file system fails. See that the file system is there again"]),
        (errno.ESTALE, "out/a", ["out/a: the network file system has lost it"]),
        (errno.ENOENT, "out/a", ["out/a: it is gone, though this run has made it", "Start the run again"]),
        (errno.ENOENT, "/data/a", ["No such file or directory: '/data/a'"]),
        (errno.ENOMEM, None, ["the machine is out of memory (RAM)", "DATALOADER.NUM_WORKERS"]),
    ],
)
def test_what_the_system_refuses_is_put_in_words(number: int, name: str | bytes | None, parts: list[str]) -> None:
    cfg = config("MPL", Path("data"), "w.pt", Path("out"))
    told = explain(OSError(number, os.strerror(number), name), cfg)
    for part in parts:
        assert part in told


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that", "the loading process 12 was killed (Bus error)"),
        ("DataLoader worker (pid(s) 12, 13) exited unexpectedly", "the loading process 12, 13 ended unexpectedly"),
    ],
)
def test_what_ended_a_loading_process_is_told(text: str, how: str) -> None:
    """Also where it is the cause of another error."""
    error = KeyError("batch")
    error.__cause__ = RuntimeError(text)
    assert explain(error.__cause__).startswith(how) and "(now ?)" in explain(error.__cause__)
    wrapped = RuntimeError("while loading")
    wrapped.__cause__ = error.__cause__
    assert explain(wrapped).startswith(how)


def test_an_error_of_a_loading_process_is_told_without_its_traceback() -> None:
    error = OSError(
        "Caught ImageError in DataLoader worker process 0.\nOriginal Traceback ...\n  raise\ndassl.ImageError: no picture at a.jpg\n"
    )
    assert explain(error) == "no picture at a.jpg"
    assert explain(KeyError("no such setting")) == "no such setting"


def test_a_package_that_is_not_installed() -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        import a_package_that_nobody_has  # noqa: F401
    told = explain(caught.value)
    assert "the Python package a_package_that_nobody_has is not installed here" in told and "pip install -r requirements.txt" in told
    assert explain(ModuleNotFoundError("reading x.mat needs SciPy: pip install scipy")) == "reading x.mat needs SciPy: pip install scipy"
    assert explain(ImportError("cannot import name 'a' from 'b'")) == "", "a mistake of the program"


def test_output_that_nobody_reads_any_more(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError) as caught, os.fdopen(writer, "w", buffering=1) as console:
        console.write("a line\n")
    assert "what reads this output has ended, as `| head` does" in explain(caught.value)


# One run a folder


def test_a_second_run_in_the_same_folder_is_told_who_has_it(bench: Bench, tmp_path: Path) -> None:
    first = bench.start(tmp_path / "run", "OPTIM.MAX_EPOCH", 1000)
    first.wait_for("epoch [1/1000]")
    log = (tmp_path / "run" / "log.txt").read_text()
    for flags in ((), ("--eval-only", "--model-dir", str(tmp_path / "run"), "--load-epoch", "1")):
        second = bench.start(tmp_path / "run", flags=flags)
        ended_badly(
            second,
            f"another run works in the folder {tmp_path / 'run'} (process {first.pid} on ",
            "since 20",
            "train.py --root",
            "--output-dir",
        )
    assert (tmp_path / "run" / "log.txt").read_text().startswith(log)
    assert [p.name for p in (tmp_path / "run").glob("log*")] == ["log.txt"], "the second run has written nothing"
    first.send(signal.SIGKILL)
    first.wait()
    assert bench.run(tmp_path / "run", flags=("--no-train",))[0] == 0


def test_loading_processes_of_a_killed_run_are_waited_for(bench: Bench, tmp_path: Path) -> None:
    """They hold its lock until they notice that it is gone."""
    run = bench.start(tmp_path / "run", "DATALOADER.NUM_WORKERS", 1, "OPTIM.MAX_EPOCH", 1000)
    run.wait_for("epoch [1/1000]")
    (tmp_path / "run" / ".model.pth.tar-1.x.part").write_text("half of a file")
    run.send(signal.SIGKILL)
    run.wait()
    status, text = bench.run(tmp_path / "run", flags=("--no-train",))
    assert status == 0, text
    assert not (tmp_path / "run" / ".model.pth.tar-1.x.part").exists()


def test_two_runs_share_a_data_folder_at_first_use(bench: Bench, tmp_path: Path) -> None:
    """Drawing shapes, the few-shot sample and the memory of decoded pictures, by two processes at once."""
    flags = ("--no-train",)
    pairs = ("DATASET.NAME", "Shapes", "DATASET.ROOT", str(tmp_path), "DATASET.NUM_SHOTS", 2, "INPUT.SIZE", "(32, 32)")
    small = {"train": 3, "val": 1, "test": 1}
    runs = [bench.start(tmp_path / name, *pairs, flags=flags, shapes=small) for name in "ab"]
    for run in runs:
        assert run.wait() == 0, run.text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "shapes"]
    assert len(list((tmp_path / "shapes" / "images").rglob("*.png"))) == 24 * 5
    assert json.loads((tmp_path / "shapes" / "split_fewshot" / "shot_2-seed_1.json").read_text())["n_shots"] == 2
    assert len(json.loads((tmp_path / "shapes" / ".decoded_pictures.json").read_text())) > 0
    assert time.time() - (tmp_path / "shapes").stat().st_mtime < 600


def test_what_a_killed_drawing_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that another process still draws in, and one that has just been made, stay."""
    monkeypatch.setattr("datasets.shapes.SPLITS", {"train": 1, "val": 1, "test": 1})
    for name in ("left", "in_use", "new"):
        (tmp_path / f".shapes-{name}" / "shapes").mkdir(parents=True)
    for name in ("left", "in_use"):
        os.utime(tmp_path / f".shapes-{name}", (1, 1))
    holder = FileLock(tmp_path / ".shapes-in_use" / shapes.LOCK_NAME)
    holder.acquire()
    os.utime(tmp_path / ".shapes-in_use", (1, 1))
    shapes.write_pictures(tmp_path / "shapes", "images", "split_shapes.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".shapes-in_use", ".shapes-new", "shapes"]
    holder.release()
