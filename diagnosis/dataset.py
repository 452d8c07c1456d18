"""Examining one dataset: lists, layout, classes and counts, halves, pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import join, quote

from datasets.base import ImageDataset
from datasets.base_new import select_classes
from datasets.splits import PARTS, Split
from preparation.sources import load_table

from . import commands
from .findings import DatasetReport, Finding, prepare_command, shown
from .layouts import Search, wrong_root
from .pictures import check_pictures
from .published import config_name, read_published, readers


def inspect_dataset(
    name: str,
    root: str | Path,
    decode: bool = False,
    published: Mapping[str, Mapping[str, int]] | None = None,
    advance: Callable[[int], object] | None = None,
) -> DatasetReport:
    """What is there of a dataset, and what is wrong with it.

    Nothing is changed, but that pictures which were decoded are remembered in the dataset's folder, as by training.

    Args:
        name: the dataset, by its name in configs/datasets or its registered name.
        root: the data folder.
        decode: whether every picture is decoded to its end.
        published: figures to compare with (see `read_published`); the published ones by default.
        advance: told how many pictures were decoded, now and then.

    Raises:
        UnknownDatasetError: there is no such dataset.
    """
    name = config_name(name)
    reader = readers()[name].at(root)
    figures = (read_published() if published is None else published).get(name, {})
    report = DatasetReport(name, str(reader.folder), published=dict(figures))
    meant = wrong_root(reader)
    if meant is not None:
        cure = join(["python", "tools/doctor.py", name, "--root", str(meant)])
        what = f"{reader.folder} does not exist; the data folder is {meant}, not {reader.root}"
        report.is_found, report.findings = True, [Finding("root", what, cure)]
        return report
    try:
        _examine(reader, report, decode, advance)
    except OSError as error:  # a folder of somebody else's, a link that leads to itself, a disk that fails
        report.is_found = True
        report.findings.append(_no_access(reader, error))
    return report


def _examine(reader: ImageDataset, report: DatasetReport, decode: bool, advance: Callable[[int], object] | None) -> None:
    """Look at lists, layout, classes and pictures, each as far as what comes before it allows."""
    name = report.name
    absent = [path for path in reader.list_paths() if not path.is_file()]
    split = None if absent else _read_split(reader, report)
    search = Search(name, reader, split)
    layout = search.misplaced()
    report.is_found = bool(layout) or reader.folder.exists()
    if not report.is_found:
        report.findings = [_with_archives("absent", f"{reader.folder} does not exist", name, reader, search)]
        report.is_found = report.findings[0].kind != "absent"
        return
    if layout or not reader.image_folder.is_dir():
        if reader.is_listed:  # a listing of the wrong folder says nothing
            split, report.findings = None, []
        report.findings += layout or [_no_pictures(name, reader, search)]
    report.findings += [_list_missing(name, reader, path, search) for path in absent if not search.brings(path.name)]
    if split is not None:
        _check_classes(name, reader, split, report)
        if reader.image_folder.is_dir() and not layout:
            check_pictures(name, reader, split, report, decode, advance)
            report.findings += _leftovers(name, reader, search, report)


def _no_access(reader: ImageDataset, error: OSError) -> Finding:
    what = f"{error.filename or reader.folder} cannot be looked at: {error.strerror or error}"
    if isinstance(error, PermissionError):
        return Finding("no access", what, join(["chmod", "-R", "u+rX", str(reader.folder)]))
    return Finding("no access", what, "look at it, and move it away if it is no folder of pictures", is_command=False)


def _read_split(reader: ImageDataset, report: DatasetReport) -> Split | None:
    """The rows as the reader gives them; None, and a finding, where it cannot read them."""
    if reader.is_listed and not reader.image_folder.is_dir():
        return None
    try:
        split = reader.read_split()
        split.check_classes()
    except (OSError, ValueError) as error:
        what = " ".join(str(error).split())
        report.findings.append(Finding("list unreadable", what, _again(report.name, reader)))
        return None
    return split


def _check_classes(name: str, reader: ImageDataset, split: Split, report: DatasetReport) -> None:
    """Classes, counts and halves, and how they compare with the published figures."""
    report.n_classes = len(split.class_names())
    parts = ("test",) if reader.test_only else PARTS
    report.counts = {part: len(getattr(split, part)) for part in parts}
    if not reader.test_only and report.n_classes > 1:
        base, new = (select_classes(split, half) for half in ("base", "new"))
        report.base, report.new = ((len(half.class_names()), len(half.test)) for half in (base, new))
    if split.is_own:
        path = reader.folder / reader.split_file
        what = f"{path} was made with DATASET.MAKE_SPLIT: accuracies on it are not comparable with published ones"
        cure = f"rm {quote(str(path))} && {prepare_command(name, reader.root)}"
        report.findings.append(Finding("own split", what, cure, is_fault=False))
        return
    found = {"classes": report.n_classes, **report.counts}
    differ = [f"{key} {found[key]:,} (published: {n:,})" for key, n in report.published.items() if found.get(key, n) != n]
    if differ:
        origin = reader.image_folder if reader.is_listed else "its lists"
        what = f"{origin} {'has' if reader.is_listed else 'have'} other counts than the published ones: {', '.join(differ)}"
        report.findings.append(Finding("counts", f"{what}; accuracies would not be comparable", _again(name, reader)))


def _again(name: str, reader: ImageDataset) -> str:
    """The command that has what a split is read from anew: the pictures where those are listed, else the lists, set aside because what is
    there is used as it is.
    """
    if reader.is_listed:
        return prepare_command(name, reader.root, replaces=True)
    lists = [path for path in reader.list_paths() if path.is_file()]
    return " && ".join([*(f"mv {quote(str(path))} {quote(str(path) + '.old')}" for path in lists), prepare_command(name, reader.root)])


def _no_pictures(name: str, reader: ImageDataset, search: Search) -> Finding:
    other = search.another_version()
    if other is not None:
        return other
    return _with_archives("absent", f"its image folder {reader.image_folder} does not exist", name, reader, search)


def _with_archives(kind: str, what: str, name: str, reader: ImageDataset, search: Search) -> Finding:
    """A finding that something is not there, naming what may hold it: archives not unpacked yet, downloads that stopped."""
    packed, unfinished = search.archives()
    if packed:
        return Finding("packed", f"{what}; packed still: {shown(map(str, packed))}", _unpack(name, reader, packed))
    if unfinished:
        what, kind = f"{what}; a download stopped before its end: {shown(map(str, unfinished))}", "unfinished download"
    return Finding(kind, what, prepare_command(name, reader.root))


def _unpack(name: str, reader: ImageDataset, packed: list[Path], replaces: bool = False) -> str:
    """The command for archives that lie packed: tools/prepare.py takes those that it knows by name, others are unpacked as they are."""
    table = load_table()
    known = {archive for file in table[name].files for archive in file.names} if name in table else set()
    taken = next((path for path in packed if path.name in known), None)
    if taken is not None:
        return prepare_command(name, reader.root, taken.parent, replaces)
    return commands.unpack(packed[0], reader.folder)


def _list_missing(name: str, reader: ImageDataset, path: Path, search: Search) -> Finding:
    lying = search.find_file(path.name)
    if lying is not None:
        return Finding("list missing", f"{path} is missing; it lies in {lying.parent}", commands.copy_list(lying, path))
    return Finding("list missing", f"{path} is missing", prepare_command(name, reader.root))


def _leftovers(name: str, reader: ImageDataset, search: Search, report: DatasetReport) -> list[Finding]:
    """Where pictures are missing: the archives that lie packed beside the rest, and downloads that stopped."""
    if not any(finding.kind == "missing pictures" for finding in report.findings):
        return []
    packed, unfinished = search.archives()
    findings = []
    if packed:
        what = f"the missing pictures may be in {shown(map(str, packed))}"
        findings.append(Finding("packed", what, _unpack(name, reader, packed, replaces=True), is_fault=False))
    if unfinished:
        cure = prepare_command(name, reader.root, replaces=True)
        findings.append(
            Finding("unfinished download", f"a download stopped before its end: {shown(map(str, unfinished))}", cure, is_fault=False)
        )
    return findings
