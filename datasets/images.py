"""Pictures on disk: listing them, and finding those that are missing or damaged before a run spends time on the others."""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dassl.utils.images import why_unreadable

from .splits import PARTS, Split, write_json_whole

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
"""Endings, in lower case, of the files that count as pictures where a folder is listed."""

MAX_CHECKED = 60_000
"""Largest list of pictures that is decoded before training; our choice: above every dataset's test list (ImageNet's val, the largest, has 50,000), below
its whole training list. Beyond it, the loader names a damaged file."""

MEMORY_NAME = ".decoded_pictures.json"
"""File in a dataset's folder that remembers which pictures were decoded to their end, so that this is done once."""

N_UNSAID = 5_000
"""Up to how many pictures are decoded without a word; our choice: some seconds of work."""

N_SHOWN = 5
"""How many file names a message shows."""

_N_THREADS = 8  # our choice: enough to hide the latency of a disk; decoding releases the interpreter's lock
_N_AT_ONCE = 2_000  # our choice: keeps the queue short for a million pictures, and an interruption prompt


def list_pictures(folder: Path) -> list[str]:
    """Names of the pictures in `folder`, sorted; hidden files and other kinds of file are passed over."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if not e.name.startswith(".") and os.path.splitext(e.name)[1].lower() in SUFFIXES)


def list_folders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, sorted; hidden ones are passed over."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())


def paths_of(split: Split, parts: Iterable[str] = PARTS) -> list[str]:
    """The paths that the rows of these parts name, each once, in their order."""
    return list(dict.fromkeys(row.path for part in parts for row in getattr(split, part)))


def missing_pictures(paths: Iterable[str], image_folder: Path) -> list[str]:
    """Those of `paths`, relative to `image_folder`, that are not there; one listing a folder rather than one look a file."""
    listed: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(os.path.normpath(path))
        if folder not in listed:
            try:
                listed[folder] = set(os.listdir(image_folder / folder))
            except (FileNotFoundError, NotADirectoryError):
                listed[folder] = set()
        if name not in listed[folder]:
            missing.append(path)
    return missing


def check_present(split: Split, image_folder: Path, source: str) -> None:
    """Check that every picture of a split is there.

    Raises FileNotFoundError with the number of missing pictures, the first few, and where `source` says they come from.
    """
    paths = paths_of(split)
    missing = missing_pictures(paths, image_folder)
    if missing:
        raise FileNotFoundError(
            f"{split.origin} names {len(paths):,} pictures, of which {len(missing):,} are missing under {image_folder}: "
            f"{_shown(missing)}.\n"
            f"  cure: unpack the pictures again in full (from {source}), or use the split file that belongs to these pictures."
        )
    outside = linked_out(paths, image_folder)
    if outside:
        print(
            f"NOTE: {split.origin}: {len(outside):,} of its pictures are reached by links that lead out of {image_folder}: {_shown(outside)}. "
            "They are read as the links say; where the links are not your own, unpack the pictures again."
        )


def linked_out(paths: Iterable[str], image_folder: Path) -> list[str]:
    """Those of `paths` that a link below `image_folder` leads out of it; the folder itself may be a link."""
    home = os.path.join(os.path.realpath(image_folder), "")
    leads: dict[str, bool] = {}  # folder -> whether it is outside
    outside = []
    for path in paths:
        folder = os.path.dirname(path)
        if folder not in leads:
            leads[folder] = not os.path.join(os.path.realpath(image_folder / folder), "").startswith(home)
        full = image_folder / path
        if leads[folder] or (os.path.islink(full) and not os.path.realpath(full).startswith(home)):
            outside.append(path)
    return outside


def check_readable(split: Split, image_folder: Path, memory_path: Path, parts: Iterable[str] = PARTS) -> None:
    """Decode the pictures that a run will use to their end, unless `memory_path` says that these very files were decoded before.

    A list of more than `MAX_CHECKED` pictures is passed over. Lists other than those of `parts` are left alone.
    Raises ValueError naming the pictures that cannot be decoded, and why.
    """
    lists = [getattr(split, part) for part in parts]
    paths = dict.fromkeys(row.path for rows in lists if len(rows) <= MAX_CHECKED for row in rows)
    sound = _read_memory(memory_path)
    stamps = {path: _stamp(image_folder / path) for path in paths}
    new = [path for path, stamp in stamps.items() if stamp is None or sound.get(path) != stamp]
    if len(new) > N_UNSAID:
        print(f"Decoding {len(new):,} pictures under {image_folder} to find damaged ones, this once")
    wrong = unreadable_pictures(new, image_folder)
    if len(wrong) < len(new):
        _write_memory(memory_path, sound | {path: stamps[path] for path in new if path not in wrong})
    if wrong:
        raise ValueError(
            f"{split.origin}: {len(wrong):,} of its pictures under {image_folder} cannot be decoded: "
            f"{_shown([f'{path} ({why})' for path, why in wrong.items()])}.\n"
            "  cure: fetch these files again; a download or an unpacking that was cut short leaves such files."
        )


def unreadable_pictures(paths: Sequence[str], image_folder: Path, advance: Callable[[int], object] | None = None) -> dict[str, str]:
    """Decode pictures to their end, in parallel: path -> why it cannot be decoded, of those that cannot.

    Args:
        paths: relative to `image_folder`.
        image_folder: where they are.
        advance: called now and then with the number of pictures decoded since the last call.
    """
    wrong: dict[str, str] = {}
    with ThreadPoolExecutor(_N_THREADS) as pool:
        for start in range(0, len(paths), _N_AT_ONCE):
            some = paths[start : start + _N_AT_ONCE]
            reasons = pool.map(lambda path: why_unreadable(image_folder / path), some)
            wrong |= {path: why for path, why in zip(some, reasons, strict=True) if why}
            if advance is not None:
                advance(len(some))
    return wrong


def remember_readable(paths: Iterable[str], image_folder: Path, memory_path: Path) -> None:
    """Note that these pictures were decoded to their end, so that `check_readable` does not do it again."""
    _write_memory(memory_path, _read_memory(memory_path) | {path: _stamp(image_folder / path) for path in paths})


def _stamp(path: Path) -> list[int] | None:
    """What changes when a file does: its size and the time of its last change; None for a file that cannot be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _read_memory(path: Path) -> dict[str, list[int] | None]:
    """Path -> stamp of the pictures that were decoded before; empty if nothing readable is remembered."""
    try:
        remembered = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return remembered if isinstance(remembered, dict) else {}


def _write_memory(path: Path, sound: dict[str, list[int] | None]) -> None:
    """Remember; where the folder cannot be written, the next run decodes again."""
    with contextlib.suppress(OSError):
        write_json_whole(path, sound)


def _shown(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - N_SHOWN:,} more" if len(names) > N_SHOWN else ""
    return ", ".join(names[:N_SHOWN]) + more
