"""docs/USING.md: its commands and its Python run as written and give the output that the page shows."""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from classify.__main__ import build_parser
from tests.classify.test_command_line import run

REPO = Path(__file__).parents[2]
PAGE = (REPO / "docs/USING.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"\d+\.\d+")
TOLERANCE = 10.0  # points of accuracy and probability: five epochs of training amplify another rounding


def pieces() -> list[tuple[str, str, list[str]]]:
    """The kind and text of each piece to run, and the output lines shown below it."""
    found: list[tuple[str, str, list[str]]] = []
    for kind, text in re.findall(r"```(bash|python|output)\n(.*?)```", PAGE, re.DOTALL):
        if kind == "output":
            found[-1][2].extend(text.splitlines())
        else:
            found.append((kind, text, []))
    return found


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The project's folders as links, or as copies where the launchers look for their own place."""
    for entry in REPO.iterdir():
        if entry.name in ("configs", "scripts"):
            shutil.copytree(entry, tmp_path / entry.name)
        elif not entry.name.startswith((".", "__")) and entry.name not in ("data", "output"):
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "data").mkdir()
    return tmp_path


def run_command(line: str) -> str:
    """Run one line of the page in the present folder and give what it prints."""
    words, out = shlex.split(line), io.StringIO()
    if words[:3] == ["python", "-m", "classify"]:  # in this process, which saves the import of torch
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            status = run(*words[3:])
        assert status == 0, f"{line}\n{out.getvalue()}"
        return out.getvalue()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    settings = {"PYTHON": sys.executable, "PATH": path, "OMP_NUM_THREADS": "1"}
    settings |= {"DATA": os.path.abspath("data"), "OUTPUT": os.path.abspath("output")}
    environment = {k: v for k, v in os.environ.items() if k not in ("CFG", "SHOTS")} | settings
    done = subprocess.run(
        ["bash", "-ec", line], env=environment, text=True, stdout=-1, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}"
    return done.stdout


def shows(line: str, out: str) -> bool:
    """Whether `out` has `line`, "…" standing for anything, and numbers within the tolerance."""
    pattern = NUMBER.sub(lambda _: r"(\d+\.\d+)", re.escape(line).replace(r"\.", ".").replace("…", ".*"))
    pattern = re.sub(r"(\\ )+", r" +", pattern)
    expected = list(map(float, NUMBER.findall(line)))
    return any(
        all(
            abs(float(found) - number) <= TOLERANCE
            for found, number in zip(match.groups(), expected, strict=True)
        )
        for match in re.finditer(f"^{pattern}$", out, re.MULTILINE)
    )


def test_the_page_is_right(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("onnxruntime", "onnxscript", "matplotlib"):
        pytest.importorskip(module)
    monkeypatch.chdir(clone)
    names: dict[str, Any] = {}
    for kind, text, lines in pieces():
        if kind == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(text, "docs/USING.md", "exec"), names)
            printed = out.getvalue()
        else:
            printed = "".join(map(run_command, text.replace("\\\n", " ").splitlines()))
        for line in lines:
            assert shows(line, printed), f"{line!r} is not what this gave:\n{text}\n{printed[-3000:]}"


def test_commands_that_are_not_run_can_be_given_and_pictures_are_there() -> None:
    commands = re.findall(r"^python -m classify ((?:.*\\\n)*.*)$", PAGE, re.MULTILINE)
    assert len(commands) >= 8
    for command in commands:
        args = build_parser().parse_args(shlex.split(command.replace("\\\n", " ")))
        assert all((REPO / path).is_file() for path in getattr(args, "config_file", ()))
    for path in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert path.startswith("http") or (REPO / "docs" / path).exists(), path
