"""Miniatures of the true layouts (tests/datasets/conftest.py) with counts of their own, and the doctor run in this process."""

from __future__ import annotations

import json
import subprocess

import pytest

from diagnosis import inspect_dataset
from diagnosis.published import readers
from tests.datasets.conftest import COUNTS, LAYOUTS, put
from tools import doctor

SPLIT_COUNTS = {"classes": 5, **{part: sum(numbers) for part, numbers in COUNTS.items()}}
MINIATURE_COUNTS = {
    **dict.fromkeys(readers(), SPLIT_COUNTS),
    "imagenet": {**SPLIT_COUNTS, "val": SPLIT_COUNTS["test"]},
    "imagenetv2": {"classes": 5, "test": 10},
    "imagenet_sketch": {"classes": 5, "test": 10},
    "imagenet_a": {"classes": 3, "test": 6},
    "imagenet_r": {"classes": 3, "test": 6},
}


@pytest.fixture
def root(tmp_path):
    """The data folder, with a name that a shell has to be told to take as it is."""
    folder = tmp_path / "my data's"
    folder.mkdir()
    return folder


@pytest.fixture
def lay_out(root):
    """lay_out(name): write the miniature of a dataset, by its name in configs/datasets; gives its rows by part."""
    return lambda name: LAYOUTS[readers()[name].__name__](root, readers()[name].__name__)


@pytest.fixture
def inspect(root):
    """inspect(name, decode): the report on a miniature."""
    return lambda name, decode=False: inspect_dataset(name, root, decode, MINIATURE_COUNTS)


@pytest.fixture
def bash(root):
    """bash(command): run it in the data folder; it has to succeed without a word."""

    def run(command):
        done = subprocess.run(["bash", "-euc", command], cwd=root, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), command

    return run


@pytest.fixture
def run_doctor(root, tmp_path, capsys):
    """run_doctor(*arguments, root=, counts=): the doctor's exit status, output and errors."""
    counts_path = tmp_path / "counts.yaml"
    counts_path.write_text(json.dumps(MINIATURE_COUNTS))  # JSON is YAML

    def run(*arguments, root=root, counts=counts_path):
        capsys.readouterr()
        status = doctor.main([*arguments, "--root", str(root), *(["--counts", str(counts)] if counts else [])])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture(scope="session")
def write():
    """write(path, content): write a file (a small picture by default) and the folders above it."""
    return put
