"""The fuzzer itself: mutated files are read within its rules, and it finds what breaks them."""

import json
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


def fuzz_command(*arguments: str) -> subprocess.CompletedProcess:
    """tools/fuzz.py with these arguments."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "tools/fuzz.py", *arguments], cwd=REPO, capture_output=True, text=True, timeout=300, env=environment
    )


def test_the_command_prints_figures(tmp_path):
    done = fuzz_command("lists", "--engine", "mutations", "--minutes", "0.01", "--output", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"target": "lists"' in done.stdout and '"findings": {}' in done.stdout


def test_files_that_reach_new_code_are_kept(tmp_path):
    pytest.importorskip("atheris", reason="atheris is optional, and built for some versions of Python alone")
    done = fuzz_command("split", "--engine", "atheris", "--minutes", "0.06", "--output", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout[done.stdout.index("{") :])
    assert figures["findings"] == {} and figures["processes"] == 1
    assert figures["outcomes"]["refused"] > 20
    assert figures["coverage"]["branches"] > 50 and figures["coverage"]["corpus"] > 5, "of one seed"
    assert len(list((tmp_path / "split" / "corpus").iterdir())) > 5


PLANTED = """
import sys
from pathlib import Path
from tests.hostile.fuzz_atheris import fuzz_covered
from tests.hostile.fuzz_mutations import mutate_bytes
from tests.hostile.fuzz_targets import Seed

def read(seed, content):
    if content[:1] == b"h" and content[1:2] == b"i" and content[2:3] == b"d" and content[3:4] == b"e":
        print("found", flush=True)

seeds = [Seed("a.txt", b"nothing to see", [mutate_bytes], None)]
fuzz_covered(seeds, read, 1, 60, Path(sys.argv[1]), lambda: None, ("__main__",))
"""


def test_coverage_leads_to_what_chance_does_not_find(tmp_path):
    """Four right bytes in a row, which mutations without a memory would find in one of some billion files."""
    pytest.importorskip("atheris", reason="atheris is optional, and built for some versions of Python alone")
    run = subprocess.Popen([sys.executable, "-c", PLANTED, str(tmp_path)], cwd=REPO, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stdout.readline() == "found\n"
    run.kill()
    run.wait()


def test_a_missing_atheris_is_told(monkeypatch, capsys):
    from tools import fuzz

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "weights", "--engine", "atheris"])
    with pytest.raises(SystemExit, match="2"):
        fuzz.main()
    told = capsys.readouterr().err
    assert "atheris is not installed" in told and "pip install atheris" in told and "--engine mutations" in told
