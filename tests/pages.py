"""For tests of pages: their blocks, a clone for their commands, and whether these print what is shown."""

import re
import shutil
from pathlib import Path

from tests.launchers import REPO

NUMBER = re.compile(r"\d+\.\d+")


def blocks(page: str) -> list[tuple[str, str, str]]:
    """The bash and Python blocks of a page: language, text, and the output that is shown below."""
    return re.findall(r"```(bash|python)\n(.*?)```(?:\n\n```output\n(.*?)```)?", page, re.DOTALL)


def copy_project(folder: Path) -> Path:
    """A new `folder` with the project, but for its docs."""
    folder.mkdir()
    for path in REPO.glob("[!.]*"):
        if path.is_dir() and path.name not in ("data", "docs", "output"):
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file():
            shutil.copy(path, folder)
    return folder


def check_output(printed: str, shown: str, tolerance: float) -> None:
    """Every line of `shown` was printed: "…" is anything, and numbers may differ by the tolerance."""
    for line in shown.splitlines():
        pattern = NUMBER.sub(lambda _: r"(\d+\.\d+)", re.escape(line).replace(r"\.", ".").replace("…", ".*"))
        pattern = re.sub(r"(\\ )+", r" +", pattern)
        expected = [float(number) for number in NUMBER.findall(line)]
        assert any(
            all(abs(float(a) - b) <= tolerance for a, b in zip(match.groups(), expected, strict=True))
            for match in re.finditer(f"^{pattern}$", printed, re.MULTILINE)
        ), f"{line!r} is not in:\n{printed[-2000:]}"
