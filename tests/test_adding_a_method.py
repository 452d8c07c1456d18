"""docs/ADDING_A_METHOD.md, followed to the letter in a copy: its launchers run the method, and the tests take it without a word about it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launchers import REPO, environment, succeeded

PAGE = (REPO / "docs/ADDING_A_METHOD.md").read_text(encoding="utf-8")
FOLDERS = ("clip", "configs", "dassl", "datasets", "preparation", "reporting", "scripts", "sweeps", "tests", "tools", "trainers")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, in which the page's method, configs and launchers have been made."""
    folder = tmp_path_factory.mktemp("clone")
    for name in FOLDERS:
        shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("train.py", "pyproject.toml", "requirements.txt"):
        shutil.copy(REPO / name, folder / name)
    (folder / "trainers/wordshift.py").write_text(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0], encoding="utf-8")
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)[:2]:
        subprocess.run(["bash", "-e"], input=block, cwd=folder, text=True, check=True)
    return folder


def test_its_launchers_know_its_runs(clone: Path, tmp_path: Path) -> None:
    variables = environment(tmp_path, LAUNCH_PLAN="1")
    call = ["bash", str(clone / "scripts/wordshift/base2new_train.sh"), "shapes", "1"]
    told = succeeded(subprocess.run(call, env=variables, capture_output=True, text=True))
    assert told.startswith(f"missing\t{tmp_path}/output/base2new/train_base/shapes/shots_16/WordShift/tiny_shapes/seed1\t-\t")


def test_the_tests_take_it(clone: Path) -> None:
    of_it = "WordShift and (moves_every or come_back or opens or its_own_method) or wordshift and settings_name"
    chosen = f"{of_it} or those_published or configs_that_exist or script_parses or launchers_are_there or named_by"
    files = re.findall(r"tests/\S+\.py", PAGE)
    assert len(files) == 4
    call = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", *files, "-k", chosen]
    done = subprocess.run(call, cwd=clone, env={**os.environ, "PYTHONPATH": str(clone)}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout).group(1)) == 13
