"""Shell commands that put misplaced pictures where a dataset's reader looks for them; written out, never run here.

Each is one line for bash and for the tools of GNU and BSD alike, with every path absolute and quoted. What lies in the dataset's own folder is
moved; what lies outside is linked, because what put it there (torchvision, another project) may still want it where it is.
"""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from datasets.images import SUFFIXES

COMPANIONS = ("annotations", "devkit", "imdb", "labels", "meta", "split_fewshot", "ucftraintestlist")
"""Folders, in any case, that lie beside class folders in the archives and are none."""


def _q(path: Path) -> str:
    return quote(str(path))


def whole_folder(found: Path, expected: Path, folder: Path) -> Path | None:
    """The folder that can stand for the whole of the dataset's `folder`, where that is not there and `found` lies in it as `expected` does in `folder`.

    Lists that lie in it come along with the pictures.
    """
    tail = expected.relative_to(folder).parts
    return found.parents[len(tail) - 1] if not folder.exists() and found.parts[-len(tail) :] == tail else None


def put_in_place(found: Path, expected: Path, folder: Path) -> str:
    """The command after which `expected` holds what `found` holds.

    Args:
        found: the folder that holds the pictures or class folders.
        expected: the folder where the reader looks for them.
        folder: the dataset's folder, which `expected` is in.
    """
    whole = whole_folder(found, expected, folder)
    if whole is not None:
        return f"ln -s {_q(whole)} {_q(folder)}"
    if found in expected.parents:
        return _move_down(found, expected)
    if expected in found.parents:
        outer = _free_name(expected, "outer")
        return f"mv {_q(expected)} {_q(outer)} && mv {_q(outer / found.relative_to(expected))} {_q(expected)}"
    verb = "mv" if folder in found.parents else "ln -s"
    return f"{_make_room(expected)} && {verb} {_q(found)} {_q(expected)}"


def gather(found: Path, expected: Path, folder: Path, files: str) -> str:
    """The command that puts the pictures below `found` whose names match the glob `files` into `expected`, side by side."""
    verb = "mv" if folder in found.parents else "ln -s"
    return f"mkdir -p {_q(expected)} && find {_q(found)} -type f -name {quote(files)} -exec {verb} {{}} {_q(expected)}/ \\;"


def sort_by_solution(flat: Path, expected: Path, solution: Path) -> str:
    """The command that sorts ImageNet's validation pictures into class folders by Kaggle's LOC_val_solution.csv ("picture,wnid box …")."""
    class_folder = f'{_q(expected)}/"${{boxes%% *}}"'
    return (
        f"tail -n +2 {_q(solution)} | while IFS=, read -r name boxes; do "
        f'mkdir -p {class_folder} && mv {_q(flat)}/"$name".JPEG {class_folder}/; done'
    )


def unpack(archive: Path, folder: Path) -> str:
    """The command that unpacks an archive into a dataset's folder; where its pictures do not lie as they should, the doctor then says so."""
    tool = f"unzip -q {_q(archive)} -d" if archive.suffix.lower() == ".zip" else f"tar -xf {_q(archive)} -C"
    return f"mkdir -p {_q(folder)} && {tool} {_q(folder)}"


def copy_list(found: Path, expected: Path) -> str:
    """The command that copies a list (split file, class names) to where the reader looks for it."""
    return f"mkdir -p {_q(expected.parent)} && cp {_q(found)} {_q(expected)}"


def rename_all(pairs: list[tuple[Path, Path]]) -> str:
    """The command that renames each first path to the second."""
    return " && ".join(f"mv {_q(old)} {_q(new)}" for old, new in pairs)


def rename_endings(folder: Path, old: str, new: str) -> str:
    """The command that gives files below `folder` whose names end in `old` the ending `new`, such as ".JPG" and ".jpg"."""
    return f'find {_q(folder)} -type f -name {quote("*" + old)} -exec sh -c \'mv "$1" "${{1%{old}}}{new}"\' _ {{}} \\;'


def _move_down(found: Path, expected: Path) -> str:
    """Pictures or class folders of `found` move into `expected`, a folder below it."""
    first = expected.relative_to(found).parts[0]
    if any(path.is_file() and path.suffix.lower() in SUFFIXES for path in found.iterdir()):
        endings = " -o ".join(f"-iname {quote('*' + suffix)}" for suffix in sorted(SUFFIXES))
        which = f"-type f \\( {endings} \\)"
    else:
        which = " ".join(["-type d", *(f"! -iname {quote(name)}" for name in (first, *COMPANIONS)), "! -name '.*'"])
    return f"mkdir -p {_q(expected)} && find {_q(found)} -mindepth 1 -maxdepth 1 {which} -exec mv {{}} {_q(expected)}/ \\;"


def _make_room(expected: Path) -> str:
    """The command that lets `expected` be made: the folders above it, and what stands in its place set aside."""
    if not (expected.exists() or expected.is_symlink()):
        return f"mkdir -p {_q(expected.parent)}"
    return f"mv {_q(expected)} {_q(_free_name(expected, 'old'))}"


def _free_name(path: Path, word: str) -> Path:
    """A name beside `path` that nothing has: `path`.word, or `path`.word-2 and so on."""
    free, number = path.with_name(f"{path.name}.{word}"), 2
    while free.exists() or free.is_symlink():
        free, number = path.with_name(f"{path.name}.{word}-{number}"), number + 1
    return free
