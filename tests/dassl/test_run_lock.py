"""One run a folder, within one process; tests/reliability has it between processes."""

import contextlib
import json
import os
import subprocess

import pytest

from dassl.utils import run_lock
from dassl.utils.run_lock import HOLDER_NAME, FolderHeldError, hold_run_folder


def told_of_the_holder(folder, holder):
    """What a second run is told in `folder`, whose first run is made to say `holder` of itself."""
    with hold_run_folder(folder):
        with open(os.path.join(folder, HOLDER_NAME), "w", encoding="utf-8") as file:
            file.write(holder)
        with pytest.raises(FolderHeldError) as raised, hold_run_folder(folder):
            pass
    return str(raised.value)


def test_the_holder_is_told_and_its_folder_is_free_afterwards(tmp_path):
    with hold_run_folder(str(tmp_path)):
        assert json.loads((tmp_path / HOLDER_NAME).read_text())["pid"] == os.getpid()
        with (
            pytest.raises(FolderHeldError, match=rf"another run works in the folder .*\(process {os.getpid()} on "),
            hold_run_folder(str(tmp_path)),
        ):
            pass
    assert not (tmp_path / HOLDER_NAME).exists()
    with hold_run_folder(str(tmp_path)):
        pass


@pytest.mark.parametrize("holder", ["", "no JSON", "[1]"])
def test_a_holder_that_says_nothing_of_itself_is_told_as_such(tmp_path, holder):
    assert "(it did not say who it is)" in told_of_the_holder(str(tmp_path), holder)


def test_a_holder_on_another_machine_is_not_taken_for_ended(tmp_path):
    holder = {"host": "another", "pid": 2**30, "since": "2025-01-01", "command": "train.py"}
    assert "process 1073741824 on another, since 2025-01-01: train.py" in told_of_the_holder(str(tmp_path), json.dumps(holder))


def test_processes_that_an_ended_run_leaves_are_waited_for_and_then_told(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "PATIENCE", 0.3)
    ended = subprocess.Popen(["true"])
    ended.wait()
    holder = {**run_lock._myself(), "pid": ended.pid}
    assert f"process {ended.pid} on " in told_of_the_holder(str(tmp_path), json.dumps(holder))


def test_a_folder_is_freed_by_a_failure_too(tmp_path):
    with contextlib.suppress(ArithmeticError), hold_run_folder(str(tmp_path)):
        raise ArithmeticError
    with hold_run_folder(str(tmp_path)):
        pass
