"""Launchers and a dataset that is missing: fetched with AUTO_PREPARE=1 or after a yes, else the command is told."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from datasets.missing import check_folders
from preparation.sources import load_table
from tests.launchers import REPO, environment
from tests.preparation.test_prepare import READERS
from tests.preparation.test_prepare import datasets_folder as folder_of

Launch = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """Runs a launcher with a stand-in for Python; gives its status, what it said, and the commands that Python was given.

    ``answer`` puts it on a terminal and is typed there. ``fails`` makes tools/prepare.py end with 1.
    """
    stub, called = tmp_path / "python", tmp_path / "called"
    stub.write_text(
        '#!/bin/sh\ncase "$1" in *check_requirements.py) exit 0 ;; esac\necho "$*" >>"$CALLED"\n'
        'case "$1" in tools/prepare.py) exit "${FAILS:-0}" ;; esac\n'
    )
    stub.chmod(0o755)

    def run(command: str, answer: str | None = None, **more: str) -> tuple[int, str, list[str]]:
        called.write_text("")
        script, *arguments = command.split()
        call = ["bash", str(REPO / "scripts" / f"{script}.sh"), *arguments]
        variables = environment(tmp_path, PYTHON=str(stub), CALLED=str(called), **more)
        if answer is None:
            done = subprocess.run(call, cwd=REPO, env=variables, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
            return done.returncode, done.stdout + done.stderr, called.read_text().splitlines()
        status, said = on_terminal(call, variables, answer)
        return status, said, called.read_text().splitlines()

    return run


def on_terminal(call: list[str], variables: dict[str, str], answer: str) -> tuple[int, str]:
    """Runs a command on a terminal on which ``answer`` is typed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(call, cwd=REPO, env=variables, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, answer.encode())
    said = b""
    while True:
        try:
            block = os.read(ours, 4096)
        except OSError:  # the terminal closes with its last process
            break
        if not block:
            break
        said += block
    os.close(ours)
    return process.wait(timeout=60), said.decode()


def prepared(dataset: str, folder: Path) -> str:
    return f"tools/prepare.py {dataset} --root {folder}/data"


def test_auto_prepare_fetches_before_training(launch: Launch, tmp_path: Path) -> None:
    status, _, calls = launch("mpl/base2new_train eurosat 1", AUTO_PREPARE="1")
    assert status == 0 and calls[0] == prepared("eurosat", tmp_path) and calls[1].startswith("train.py ")
    status, _, calls = launch("mpl/few_shot oxford_pets 1", AUTO_PREPARE="1")
    assert calls[0] == prepared("oxford_pets", tmp_path) and sum(call.startswith("tools/prepare.py") for call in calls) == 1
    assert len(calls) == 6
    status, _, calls = launch("zsclip/dg_test", AUTO_PREPARE="1")
    assert [call for call in calls if call.startswith("tools/prepare.py")] == [
        prepared(name, tmp_path) for name in ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")
    ]


def test_what_cannot_be_prepared_is_not_trained_on(launch: Launch, tmp_path: Path) -> None:
    status, said, calls = launch("mpl/base2new_train eurosat 1", AUTO_PREPARE="1", FAILS="1")
    assert status == 2 and calls == [prepared("eurosat", tmp_path)]
    assert f"Error: eurosat is not ready; the reasons stand above. The command to run again: python {prepared('eurosat', tmp_path)}" in said
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(("answer", "is_yes"), [("y\n", True), ("yes\n", True), ("n\n", False), ("\n", False), ("\x04", False)])
def test_on_a_terminal_it_asks(answer: str, is_yes: bool, launch: Launch, tmp_path: Path) -> None:
    status, said, calls = launch("mpl/base2new_train eurosat 1", answer)
    assert f"eurosat is not in {tmp_path}/data, or not all of it. Fetch it now? [y/N]" in said
    assert (calls[0] == prepared("eurosat", tmp_path)) is is_yes and status == 0 and calls[-1].startswith("train.py ")


def test_nothing_is_asked_for_without_need(launch: Launch, tmp_path: Path) -> None:
    for command in ("mpl/base2new_train shapes 1", "mpl/base2new_train eurosat 1 DATASET.MAKE_SPLIT True"):
        _, _, calls = launch(command, AUTO_PREPARE="1")
        assert len(calls) == 1 and calls[0].startswith("train.py ")
    _, said, calls = launch("mpl/base2new_train eurosat 1")  # no terminal, no AUTO_PREPARE: train.py tells the command
    assert len(calls) == 1 and "Fetch" not in said
    for dataset in load_table().values():
        for need in dataset.needs:
            path = tmp_path / "data" / dataset.folder / need
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        _, _, calls = launch(f"zsclip/zeroshot {dataset.name} vit_b16", AUTO_PREPARE="1")
        assert len(calls) == 1 and calls[0].startswith("train.py "), dataset.name
        path.unlink()  # one thing less, and it is fetched
        _, _, calls = launch(f"zsclip/zeroshot {dataset.name} vit_b16", AUTO_PREPARE="1")
        assert calls[0] == prepared(dataset.name, tmp_path)


def test_a_finished_run_fetches_nothing(launch: Launch, tmp_path: Path) -> None:
    run_dir = tmp_path / "output/ZeroshotCLIP/vit_b16/eurosat"
    run_dir.mkdir(parents=True)
    (run_dir / "result.json").write_text(json.dumps({"finished": True}, indent=2))
    assert launch("zsclip/zeroshot eurosat vit_b16", AUTO_PREPARE="1")[2] == []


@pytest.mark.parametrize("name", READERS)
def test_a_missing_dataset_s_message_has_the_command(name: str, tmp_path: Path) -> None:
    from dassl.data.datasets import DATASET_REGISTRY

    reader = object.__new__(DATASET_REGISTRY.get(READERS[name]))
    reader.root = tmp_path / "my data"
    reader.folder = reader.root / folder_of(name)
    reader.image_folder = reader.folder / reader.image_dir
    with pytest.raises(FileNotFoundError, match=f"to get it: +python tools/prepare.py {name} --root '{tmp_path}/my data'"):
        check_folders(reader)
