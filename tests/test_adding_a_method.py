"""docs/ADDING_A_METHOD.md, followed in a copy: its methods can be run and pass the tests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launchers import REPO, environment, succeeded
from tests.pages import copy_project

PAGE = (REPO / "docs/ADDING_A_METHOD.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, in which the methods, configs and launchers of the page have been made."""
    folder = copy_project(tmp_path_factory.mktemp("clone") / "clone")
    for name, text in re.findall(r"`(trainers/\w+\.py)`[^`]*```python\n(.*?)```", PAGE, re.DOTALL):
        (folder / name).write_text(text)
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)[:-1]:  # the last one runs the method
        subprocess.run(["bash", "-e"], input=block, cwd=folder, text=True, check=True)
    return folder


def printed_by(clone: Path, *call: str) -> str:
    variables = environment(clone, PYTHONPATH=str(clone))
    return succeeded(subprocess.run(call, cwd=clone, env=variables, capture_output=True, text=True))


def test_its_launchers_plan_its_runs(clone: Path) -> None:
    plan = printed_by(clone, "bash", "scripts/wordshift/base2new_train.sh", "shapes", "1", "--plan")
    assert "base2new/train_base/shapes/shots_16/WordShift/tiny_shapes/seed1" in plan


def test_the_tests_take_it(clone: Path) -> None:
    files = ("tests/trainers", "tests/experiments/test_configs.py", "tests/experiments/test_launchers.py")
    pytest_call = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", *files)
    tests = "WordShift or SmoothMPL or every_method_has_its_launchers"
    printed = printed_by(clone, *pytest_call, "-k", tests)
    assert int(re.search(r"(\d+) passed", printed).group(1)) > 20
