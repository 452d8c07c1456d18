"""What an examination gives: findings, each with its cure, and one report a dataset or a set of weights."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from datasets.folder_layout import wrong_with_text

N_SHOWN = 3
"""How many file names a finding shows; our choice: it stays one line."""

REPLACE_FLAG = "--force"
"""The flag of tools/prepare.py with which what is in place already is fetched again and replaced."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or that should be known.

    Args:
        kind: what sort of thing it is, for programs: "absent", "root", "layout", "list missing", "list unreadable", "classes", "missing pictures",
            "empty pictures", "unreadable pictures", "counts", "own split", "packed", "unfinished download", "no access", "disk", "weights".
        what: the thing, in one line.
        cure: what puts it right, in one line: a shell command, or advice where no command can.
        is_command: whether `cure` is a command that can be pasted into a shell.
        is_fault: whether the data are unsound because of it; otherwise it is to be known, and does not count.
    """

    kind: str
    what: str
    cure: str
    is_command: bool = True
    is_fault: bool = True


@dataclass
class DatasetReport:
    """What was found of one dataset.

    Args:
        name: its name in configs/datasets.
        folder: where it belongs.
        is_found: whether anything of it is there, be it in another layout or packed.
        n_classes: classes of the split; None where it could not be read, as in what follows.
        counts: part -> pictures that the split names; of a dataset for testing alone, test only.
        published: the published figures: "classes", "train", "val" and "test", or some of them.
        n_named: different pictures that the split names.
        n_present: how many of them are there.
        n_unreadable: how many cannot be decoded; None unless all were opened.
        base, new: classes and test pictures of the two halves; None where the dataset is not halved.
        findings: what is wrong or should be known.
    """

    name: str
    folder: str
    is_found: bool = False
    n_classes: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    published: dict[str, int] = field(default_factory=dict)
    n_named: int | None = None
    n_present: int | None = None
    n_unreadable: int | None = None
    base: tuple[int, int] | None = None
    new: tuple[int, int] | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether the dataset is there and nothing is wrong with it."""
        return self.is_found and not any(finding.is_fault for finding in self.findings)


@dataclass
class WeightsReport:
    """What was found of one set of weights: its file, None where there is none on this machine, and what is wrong."""

    name: str
    path: str | None = None
    n_bytes: int | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether the weights are there and whole."""
        return self.path is not None and not any(finding.is_fault for finding in self.findings)


def shown(names: Iterable[str]) -> str:
    """The first few names, those that cannot be printed as they are escaped, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - N_SHOWN:,} more" if len(names) > N_SHOWN else ""
    return ", ".join(ascii(name) if wrong_with_text(name) else name for name in names[:N_SHOWN]) + more


def prepare_command(name: str, root: Path, archive_dir: Path | None = None, replaces: bool = False) -> str:
    """The command that prepares a dataset, quoted for a shell. Shapes is drawn by its first run, so that a run is its command.

    Args:
        name: the dataset's name in configs/datasets.
        root: the data folder.
        archive_dir: a folder of archives to take; None to fetch them.
        replaces: whether what is in place gives way; otherwise it stays and only what is missing is fetched.
    """
    if name == "shapes":
        return f"DATA={shlex.quote(str(root))} bash scripts/zsclip/base2new.sh shapes"
    words = ["python", "tools/prepare.py", name, "--root", str(root)]
    return shlex.join(words + (["--from", str(archive_dir)] if archive_dir else []) + ([REPLACE_FLAG] if replaces else []))
