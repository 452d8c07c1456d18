"""The launchers of scripts/, run with bash as a user does."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.__main__ import VERBS, main
from experiments.facts import REPO, method_names, methods
from tests.launchers import environment, refused, run, succeeded

SCRIPTS = sorted((REPO / "scripts").rglob("*.sh"))
LAUNCHERS = [path for path in SCRIPTS if path.parent != REPO / "scripts"]
TRAINED = ("base2new", "base2new_train", "base2new_test", "xd_train", "xd_test", "dg_test", "few_shot")
Again = Callable[..., tuple[str, str]]
TESTED = (*TRAINED[:-1], "zeroshot")


def test_every_method_has_its_launchers() -> None:
    expected = {"mpl/reproduce", "coop/main", "coop/eval"}
    for name in method_names():
        verbs = TRAINED if methods()[name].trains else TESTED
        expected |= {f"{methods()[name].scripts}/{verb}" for verb in verbs}
    assert {f"{path.parent.name}/{path.stem}" for path in LAUNCHERS} == expected
    for path in LAUNCHERS:
        lines = path.read_text(encoding="utf-8").splitlines()
        found = re.fullmatch(r'exec "\$PYTHON" -m experiments (\w+)(?: --method (\w+))? "\$@"', lines[-1])
        assert found and lines[:-1] == ["#!/usr/bin/env bash", '. "$(dirname "$0")/../python.sh"'], path
        assert found[1] == path.stem and found[1] in VERBS
        assert found[1] == "reproduce" or methods()[found[2]].scripts == path.parent.name


def test_scripts_need_no_newer_bash() -> None:
    for path in SCRIPTS:
        checked = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, ""), path
        text = path.read_text(encoding="utf-8")
        newer = re.search(r"declare -A|local -[An]|mapfile|readarray|\$\{\w+(,,|\^\^)|&>>|\|&|\[-1\]", text)
        assert not newer, f"{path}: bash 3.2 has no {newer.group()}"


@pytest.mark.parametrize("shell", [shell for shell in ("dash", "ksh", "zsh") if shutil.which(shell)])
@pytest.mark.parametrize("name", ["mpl/base2new", "setup"])
def test_another_shell_than_bash_is_refused(name: str, shell: str, tmp_path: Path) -> None:
    refused(run(tmp_path, f"{name} shapes 1", shell=shell), f"bash scripts/{name}.sh shapes 1".split("/")[-1])


def test_help_answers_without_the_rest(tmp_path: Path) -> None:
    assert "DATASET SEED [EPOCHS]" in succeeded(run(tmp_path, "mpl/base2new --help"))
    assert not (tmp_path / "output").exists()


def test_a_python_that_lacks_requirements_is_refused(tmp_path: Path) -> None:
    refused(run(tmp_path, "setup", PYTHON="no_such_python"), "no_such_python")
    bare = tmp_path / "bare"
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o755)
    refused(run(tmp_path, "setup", cwd=tmp_path, PYTHON="./bare"), str(tmp_path))


def test_the_first_python_with_the_requirements_is_taken(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name, command in (
        ("python3", "exit 1"),
        ("python", f'exec "{environment(tmp_path)["PYTHON"]}" "$@"'),
    ):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{command}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path / 'bin'}:{environment(tmp_path)['PATH']}"
    assert "Ready: " in succeeded(run(tmp_path, "setup", PATH=path, PYTHON=""))


def test_the_requirements_are_installed_where_no_python_has_them(tmp_path: Path) -> None:
    shutil.copytree(REPO / "scripts", tmp_path / "clone/scripts")
    shutil.copy(REPO / "requirements.txt", tmp_path / "clone")
    (tmp_path / "bin").mkdir()
    stub = f"""#!/bin/sh
echo "$*" >>{tmp_path}/calls
case "$1 $2" in
-\\ *) exit 1 ;;
"-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
esac
"""
    for name in ("python3", "python"):
        (tmp_path / "bin" / name).write_text(stub)
        (tmp_path / "bin" / name).chmod(0o755)
    variables = environment(tmp_path, PYTHON="", PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin")
    call = ["bash", str(tmp_path / "clone/scripts/setup.sh")]
    ran = subprocess.run(call, env=variables, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    calls = (tmp_path / "calls").read_text()
    assert "-m venv .venv\n" in calls and "-m pip install" in calls and "-r requirements.txt\n" in calls


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which zero-shot CLIP was tested on Shapes, from a folder with misleading names."""
    folder = tmp_path_factory.mktemp("world")
    for name in ("train.py", "yaml.py", "experiments.py"):
        (folder / name).write_text("raise SystemExit('the wrong file was imported')\n")
    out = succeeded(run(folder, "zsclip/base2new shapes", cwd=folder, OUTPUT="runs", DATA="data"))
    assert out.endswith("Shapes: base 56.53  new 55.28  H 55.90\n")
    return folder


def test_relative_paths_are_read_from_the_folder_one_is_in(world: Path) -> None:
    record = json.loads((world / "runs/ZeroshotCLIP/tiny_shapes/shapes/new/result.json").read_text())
    assert record["finished"] and (record["protocol"], record["part"]) == ("zero_shot", "new")
    assert (world / "data/shapes").is_dir()


@pytest.fixture
def again(world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Again:
    """again(words, status): standard output and error of a verb in this process, which gives the status."""
    monkeypatch.setenv("OUTPUT", str(world / "runs"))
    monkeypatch.setenv("DATA", str(world / "data"))
    for name in ("CFG", "SHOTS", "SOURCE", "TRAINER"):
        monkeypatch.delenv(name, raising=False)

    def call(words: str, status: int = 0) -> tuple[str, str]:
        assert main(words.split()) == status
        return capsys.readouterr()

    return call


def test_again_says_that_the_results_are_there(again: Again) -> None:
    out, _ = again("base2new --method ZeroshotCLIP shapes 2")
    assert out.count("Results are there: ") == 2 and out.endswith("Shapes: base 56.53  new 55.28  H 55.90\n")
    _, err = again("base2new --method ZeroshotCLIP shapes INPUT.SIZE (32,32)", status=2)
    assert "INPUT.SIZE" in err


def test_jobs_side_by_side(world: Path) -> None:
    variables = {"OUTPUT": str(world / "jobs"), "DATA": str(world / "data")}
    command = "zsclip/base2new shapes --jobs 2 --grid INPUT.INTERPOLATION=bicubic,bilinear"
    out = succeeded(run(world, command, cwd=world, **variables))
    assert "4 of 4 runs are finished" in out
    assert (
        world / "jobs/grid/INTERPOLATION=bilinear/ZeroshotCLIP/tiny_shapes/shapes/base/result.json"
    ).is_file()
    logs = [path.read_text() for path in (world / "jobs/workers").iterdir()]
    assert "".join(logs).count("Shapes: base ") == 2


def test_base_to_new_of_a_trained_method(world: Path, again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"OUTPUT": str(world / "runs"), "DATA": str(world / "data"), "SHOTS": "2"}
    out = succeeded(run(world, "mpl/base2new shapes 1 1", **variables))
    below = "shapes/shots_2/MPL/tiny_shapes/seed1/result.json"
    base, new = (
        json.loads((world / f"runs/base2new/{part}/{below}").read_text())
        for part in ("train_base", "test_new")
    )
    assert (base["subsample"], base["shots"], base["epochs_done"], base["part"]) == ("base", 2, 1, "base")
    assert new["tested"]["ended"] == base["ended"]
    a, b = base["accuracy"], new["accuracy"]
    assert out.endswith(f"Shapes: base {a:.2f}  new {b:.2f}  H {2 * a * b / (a + b):.2f}\n")
    monkeypatch.setenv("SHOTS", "2")
    _, err = again("base2new --method MPL shapes 1 1 OPTIM.LR 0.1", status=2)
    assert "OPTIM.LR" in err
    again("base2new_train --method MPL shapes 1 1 --force")
    after, _ = again("base2new --method MPL shapes 1 1")
    assert after.count("Results are there") == 1 and "Testing again" in after
    assert after.splitlines()[-1] == out.splitlines()[-1]
