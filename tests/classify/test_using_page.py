"""docs/USING.md and docs/EXPORT.md: commands and Python run as written, and give the output shown."""

import contextlib
import io
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.classify.test_command_line import run
from tests.launchers import REPO
from tests.pages import blocks, check_output, copy_project

PAGE = "".join((REPO / "docs" / name).read_text(encoding="utf-8") for name in ("USING.md", "EXPORT.md"))
TOLERANCE = 10.0  # points of accuracy and probability: five epochs of training amplify another rounding


def run_command(line: str) -> str:
    """Run one line of the page in the present folder and give what it prints; torch is imported once."""
    words, out = shlex.split(line), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        if words[:3] == ["python", "-m", "classify"]:
            status = run(*words[3:])
        else:
            call = ["bash", "-ec", line.replace("python ", f"{sys.executable} ")]
            done = subprocess.run(call, text=True, stdout=-1, stderr=subprocess.STDOUT)
            status = done.returncode
            print(done.stdout)
    assert status == 0, f"{line}\n{out.getvalue()[-3000:]}"
    return out.getvalue()


def run_elsewhere(code: str, folder: Path) -> str:
    """What the code prints where `clip` and `datasets` are other packages, and this project is not."""
    others = folder / "others"
    for name in ("clip", "datasets"):
        (others / name).mkdir(parents=True)
        (others / name / "__init__.py").write_text("is_another = True\n")
    before = "import clip, datasets, os; assert clip.is_another and datasets.is_another; os.chdir('..')\n"
    after = "import sys; assert not {'classify', 'dassl', 'trainers'} & set(sys.modules)\n"
    words = [sys.executable, "-c", before + code + after]
    return subprocess.run(words, cwd=others, check=True, text=True, stdout=-1).stdout


def test_the_page_is_right(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = copy_project(tmp_path / "clone")
    (clone / "data").symlink_to(drawn)
    monkeypatch.chdir(clone)
    monkeypatch.setenv("PYTHON", sys.executable)
    names: dict[str, Any] = {}
    for kind, text, shown in blocks(PAGE):
        if "torch.export.load" in text:
            printed = run_elsewhere(text, clone)
        elif kind == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(text, "docs/USING.md", "exec"), names)
            printed = out.getvalue()
        else:
            printed = "".join(map(run_command, text.replace("\\\n", " ").splitlines()))
        check_output(printed, shown, TOLERANCE)
