"""docs/OWN_PICTURES.md: every command on the page is run as written, in a clone of its own, and gives the output that the page shows."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from yacs.config import CfgNode

from datasets.folder import extend_cfg
from datasets.folder_lists import COLUMNS, DELIMITERS
from datasets.images import SUFFIXES

REPO = Path(__file__).parents[2]
PAGE = (REPO / "docs/OWN_PICTURES.md").read_text(encoding="utf-8")
TOLERANCE = 10.0
"""Points of accuracy: a run on another processor or PyTorch rounds otherwise, and 5 epochs of training carry that on."""

NUMBER = re.compile(r"\d+\.\d+")


def blocks():
    """The page's commands, each with the output lines shown below it."""
    found = re.findall(r"```(bash|output)\n(.*?)```", PAGE, re.DOTALL)
    pairs = []
    for kind, text in found:
        if kind == "bash":
            pairs.append((text, []))
        else:
            pairs[-1][1].extend(text.splitlines())
    return pairs


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder with this project's files, configs and scripts as copies, where data and output can be written."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("configs", "scripts"):
        shutil.copytree(REPO / name, folder / name)
    for name in ("clip", "dassl", "datasets", "tools", "trainers", "train.py", "requirements.txt"):
        (folder / name).symlink_to(REPO / name)
    (folder / "data").mkdir()
    return folder


def shows(line, out):
    """Whether one line of `out` is `line`, "…" standing for anything and numbers agreeing within `TOLERANCE`."""
    pattern = NUMBER.sub(lambda _: r"(\d+\.\d+)", re.escape(line).replace(r"\.", ".").replace("…", ".*"))
    expected = [float(number) for number in NUMBER.findall(line)]
    for match in re.finditer(f"^{pattern}$", out, re.MULTILINE):
        if all(abs(float(found) - number) <= TOLERANCE for found, number in zip(match.groups(), expected, strict=True)):
            return True
    return False


def run(script, folder):
    """One shell that reads `script` in `folder`; its output and errors come as one text."""
    environment = {key: value for key, value in os.environ.items() if key not in ("DATA", "OUTPUT", "CFG", "SHOTS")}
    environment |= {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", "-e"], input=script, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_the_page_has_the_commands_that_are_run():
    commands = re.findall(r"^(?:OUTPUT=\S+ )?(bash scripts/\S+) (\S+)", PAGE, re.MULTILINE)
    assert len(blocks()) == 7 and len(commands) == 8
    assert {script for script, _ in commands} == {
        "bash scripts/zsclip/zeroshot.sh",
        "bash scripts/zsclip/base2new.sh",
        "bash scripts/mpl/base2new.sh",
        "bash scripts/mpl/few_shot.sh",
    }


def test_every_command_of_the_page_gives_its_output(clone):
    """One shell reads all commands, as one who follows the page does."""
    mark = "-- end of block --"
    script = "".join(f"{text}\necho '{mark}'\n" for text, _ in blocks())
    done = run(script, clone)
    assert done.returncode == 0, done.stdout[-3000:]
    outputs = done.stdout.split(mark)
    for (text, lines), out in zip(blocks(), outputs[:-1], strict=True):
        for line in lines:
            assert shows(line, out), f"{line!r} is not what this gave:\n{text}\n{out[-2000:]}"
    check_that_runs_stay_apart(clone)


def check_that_runs_stay_apart(clone):
    """After the page: a run names its pictures and its split, and is not taken for one of another folder."""
    results = [json.loads(path.read_text()) for path in clone.glob("output/**/result.json")]
    forms = [result for result in results if result["dataset"] == "Folder forms"]
    assert len(forms) == 9 and len(results) == 10
    assert {result["data"]["pictures"] for result in forms} == {str(clone / "data/forms")}
    assert {Path(result["data"]["split"]).name for result in forms} == {"split_own.json", "split_own-colours.csv.json"}
    assert len({result["data"]["split_sha256"] for result in forms}) == 2
    done = run("CFG=tiny_shapes bash scripts/zsclip/base2new.sh folder DATASET.FOLDER_PATH shapes/images", clone)
    assert done.returncode == 2 and "DATASET.FOLDER_PATH forms" in done.stdout and "OUTPUT" in done.stdout


def test_the_page_names_what_the_code_takes():
    cfg = CfgNode({"DATASET": {}})
    extend_cfg(cfg)
    names = [f"`{name}`" for name in (*COLUMNS, *DELIMITERS, ".json", *SUFFIXES)]
    names += [f"DATASET.{key}" for key in cfg.DATASET]
    assert len(cfg.DATASET) == 4
    assert [name for name in names if not re.search(re.escape(name.strip("`")) + r"\b", PAGE)] == []
