"""docs/USING.md: every command and every piece of Python on the page is run as written, in a clone of its own, and gives the output that the page shows."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
import webbrowser
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from classify import PromptClassifier
from tests.classify.test_export import check_onnx, check_torch_export
from tools import export, interpret_prompts, page, predict

REPO = Path(__file__).parents[2]
PAGE = (REPO / "docs/USING.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"\d+\.\d+")
TOLERANCE = 10.0
"""Points of accuracy and probability: another processor or PyTorch rounds otherwise, and five epochs of training carry that on."""

IN_PROCESS: dict[str, Callable[[list[str]], int]] = {
    "tools/predict.py": predict.main,
    "tools/export.py": export.main,
    "tools/interpret_prompts.py": interpret_prompts.main,
}
"""Tools whose ``main`` is called with the words of the command, which spares each the seconds of importing torch."""


def blocks() -> list[tuple[str, str, list[str]]]:
    """The kind and text of each piece to run, and the output lines shown below it, up to the sections on other tools."""
    found = re.findall(r"```(bash|python|output)\n(.*?)```", PAGE, re.DOTALL)
    pieces: list[tuple[str, str, list[str]]] = []
    for kind, text in found:
        if kind == "output":
            pieces[-1][2].extend(text.splitlines())
        else:
            pieces.append((kind, text, []))
    return pieces


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project's folders as links, or as copies where the launchers look for their own place."""
    folder = tmp_path_factory.mktemp("clone")
    for entry in REPO.iterdir():
        if entry.name in ("configs", "scripts"):
            shutil.copytree(entry, folder / entry.name)
        elif not entry.name.startswith((".", "__")) and entry.name not in ("data", "output"):
            (folder / entry.name).symlink_to(entry)
    (folder / "data").mkdir()
    return folder


def run_command(line: str) -> str:
    """Run one line of a page in the present folder; gives its output and errors as one text.

    Raises:
        AssertionError: its exit status is not 0.
    """
    words = shlex.split(line)
    out = io.StringIO()
    if words[0] == "python" and words[1] in IN_PROCESS:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            status = IN_PROCESS[words[1]](words[2:])
        assert status == 0, f"{line}\n{out.getvalue()}"
        return out.getvalue()
    environment = {key: value for key, value in os.environ.items() if key not in ("DATA", "OUTPUT", "CFG", "SHOTS")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    environment |= {"PYTHON": sys.executable, "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "-ec", line], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}"
    return done.stdout


def run_python(text: str, names: dict[str, Any]) -> str:
    """Run Python with the names that the pieces before it have left; gives what it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(text, "docs/USING.md", "exec"), names)
    return out.getvalue()


def shows(line: str, out: str) -> bool:
    """Whether one line of ``out`` is ``line``, "…" standing for anything, spaces for any number of them, and numbers agreeing within the tolerance."""
    pattern = NUMBER.sub(lambda _: r"(\d+\.\d+)", re.escape(line).replace(r"\.", ".").replace("…", ".*"))
    pattern = re.sub(r"(\\ )+", r" +", pattern)
    expected = [float(number) for number in NUMBER.findall(line)]
    for match in re.finditer(f"^{pattern}$", out, re.MULTILINE):
        if all(abs(float(found) - number) <= TOLERANCE for found, number in zip(match.groups(), expected, strict=True)):
            return True
    return False


def test_the_page_is_right(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as one who follows the page does."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(clone)
    names: dict[str, Any] = {}
    for kind, text, lines in blocks():
        out = run_python(text, names) if kind == "python" else "".join(map(run_command, text.splitlines()))
        for line in lines:
            assert shows(line, out), f"{line!r} is not what this gave:\n{text}\n{out[-3000:]}"

    serve_the_page(monkeypatch)
    check_exported()


def check_exported() -> None:
    """What the page's command has written is one file each, and computes what the classifier does, for any number of pictures."""
    assert sorted(path.name for path in Path().glob("*shapes.*")) == ["shapes.onnx", "shapes.pt2"]
    names = ["blue star", "purple heart", "green circle", "orange umbrella"]
    classifier = PromptClassifier.load("prompts.safetensors", names, device="cpu", precision="fp32")
    check_torch_export(classifier, Path("shapes.pt2"))
    check_onnx(classifier, Path("shapes.onnx"))


def serve_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the page's command as written; a browser, of which a shell stands in, gets its address, and Ctrl-C ends it."""
    pytest.importorskip("gradio")
    (line,) = re.findall(r"^python (tools/page\.py .*)$", PAGE, re.MULTILINE)
    opened: list[str] = []
    answers: list[str] = []

    class Patience:
        def wait(self) -> None:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(opened[0], timeout=60) as answer:
                answers.append(answer.read().decode())
            raise KeyboardInterrupt

    monkeypatch.setattr(webbrowser, "open", lambda address, *_: opened.append(address) or True)
    monkeypatch.setattr(page, "threading", SimpleNamespace(Event=Patience))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert page.main(shlex.split(line)[1:]) == 0
    assert f"is at {opened[0]}" in out.getvalue() and "The page has ended." in out.getvalue()
    assert opened[0].startswith("http://127.0.0.1:") and "MPL prompts" in answers[0]


def test_the_command_for_published_checkpoints_can_be_given() -> None:
    (lines,) = re.findall(r"^python tools/export\.py (model\.pth\.tar-5 (?:.*\\\n)*.*)$", PAGE, re.MULTILINE)
    args = export.build_parser().parse_args(shlex.split(lines.replace("\\\n", " ")))
    assert (args.method, args.backbone, args.classes) == ("MaPLe", "ViT-B/16", "names.txt")
    assert all((REPO / path).is_file() for path in args.config_file)


def test_the_page_shows_what_there_is() -> None:
    assert len(blocks()) >= 9
    assert sum(kind == "python" for kind, _, _ in blocks()) >= 3
    for path in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert path.startswith("http") or (REPO / "docs" / path).exists(), path
    for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", "".join(line for line in PAGE.splitlines(True) if "tools/export.py" in line)):
        assert flag in export.build_parser().format_help()
