"""The fuzzer itself: mutated files are read within its rules, and it finds what breaks them."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.fuzz_targets import TARGETS, Seed, Target, mutated, try_one

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", TARGETS)
def test_some_mutated_files_of_each_reader(name, tmp_path):
    """A short walk of what tools/fuzz.py does for hours; everything undocumented raises here."""
    (tmp_path / "seeds").mkdir()
    target, rng = TARGETS[name], random.Random(1)
    seeds = target.make_seeds(tmp_path / "seeds")
    outcomes = [try_one(target, seed, seed.content, tmp_path) for seed in seeds]
    assert outcomes.count("read") >= len(seeds) - 1  # one configuration states another vocabulary than the small weights have
    for i in range(60):
        seed = seeds[i % len(seeds)]
        folder = tmp_path / str(i)
        folder.mkdir()
        outcomes.append(try_one(target, seed, mutated(seed, rng), folder))
    assert {"read", "refused"} == set(outcomes)


def test_what_breaks_the_rules_is_a_finding(tmp_path):
    def fails(error):
        def read(path):
            raise error

        return Seed("a.txt", b"abc", [], read)

    target = Target(lambda folder: [], (ValueError,))
    assert try_one(target, fails(ValueError(f"{tmp_path}/a.txt is wrong")), b"x", tmp_path) == "refused"
    with pytest.raises(KeyError):
        try_one(target, fails(KeyError("a")), b"x", tmp_path)
    with pytest.raises(AssertionError, match="does not name the file"):
        try_one(target, fails(ValueError("wrong")), b"x", tmp_path)
    with pytest.raises(AssertionError, match="characters"):
        try_one(target, fails(ValueError(f"{tmp_path} {'x' * 6000}")), b"x", tmp_path)


def test_the_command_prints_figures(tmp_path):
    command = [sys.executable, "tools/fuzz.py", "lists", "--minutes", "0.01", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"target": "lists"' in done.stdout and '"findings": {}' in done.stdout
