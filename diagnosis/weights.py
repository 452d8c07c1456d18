"""Examining CLIP weights: are they on this machine, and is their file whole? The model is not built."""

from __future__ import annotations

import difflib
import json
import re
import shlex
import struct
import zipfile
import zlib
from pathlib import Path

from clip import open_clip_models
from clip.checksums import remembered_sha256
from clip.weights import available_models, find_local, published_models

from .findings import Finding, WeightsReport

MAX_EXPANSION = 4
"""An archive that would unpack to more than this many times its size is not read; our choice: weights are stored unpacked."""

MAX_HEADER_BYTES = 100 * 2**20
"""Longest header of a safetensors file that is read; the limit of the format's own library."""


class UnknownWeightsError(ValueError):
    """A name that is neither one of published weights nor a file."""


def inspect_weights(name: str) -> WeightsReport:
    """Whether weights are on this machine, and whole: by their published SHA-256 or, where none is known, by the structure of the file.

    Args:
        name: a published name (ViT-B/16), "open_clip:<model>/<weights>", or the path of a file.

    Raises:
        UnknownWeightsError: it is none of these.
    """
    try:
        path = find_local(name)
    except ValueError as error:  # a name that open_clip does not know, or open_clip is not installed
        raise UnknownWeightsError(str(error)) from error
    report = WeightsReport(name)
    if path is None:
        if name not in available_models() and not name.startswith(open_clip_models.PREFIX):
            raise UnknownWeightsError(_unknown(name))
        report.findings.append(Finding("weights", "not on this machine", _fetch_command(name)))
        return report
    try:
        report.path, report.n_bytes = str(path), path.stat().st_size
        wrong = _wrong_with(name, path)
    except OSError as error:
        wrong = f"cannot be read ({error.strerror or error})"
    if wrong:
        report.findings.append(Finding("weights", f"{path} {wrong}", *_cure(name, path)))
    return report


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, available_models(), n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    known = ", ".join(available_models())
    return f"{name!r} is neither the name of published weights nor a file.{hint} Known: {known}; {open_clip_models.PREFIX}<model>/<weights>; or a path."


def _fetch_command(name: str) -> str:
    return shlex.join(["python", "tools/prepare.py", "--weights", name])


def _cure(name: str, path: Path) -> tuple[str, bool]:
    """What puts a damaged file right, and whether it is a command: published weights are fetched again, one's own are one's own."""
    if name in published_models() or name.startswith(open_clip_models.PREFIX):
        files = dict.fromkeys([str(path.resolve()), str(path)])  # in the hub's cache the second is a link to the first
        return f"{shlex.join(['rm', *files])} && {_fetch_command(name)}", True
    return "get the file again from where it came", False


def _wrong_with(name: str, path: Path) -> str:
    """What is wrong with a file of weights; an empty string if nothing is."""
    broken = why_not_whole(path)
    if broken:
        return broken
    stored_name = path.resolve().name  # the hub's cache names large files by their SHA-256
    published = published_models().get(name)
    if published is not None and path == published.archive_path:
        expected = published.sha256
    elif re.fullmatch(r"[0-9a-f]{64}", stored_name):
        expected = stored_name
    else:
        return ""
    found = remembered_sha256(path)
    return "" if found == expected else f"is not the published file: its SHA-256 is {found}, the published one {expected}"


def why_not_whole(path: Path) -> str:
    """What the structure of a weights file shows to be wrong with it; an empty string if nothing.

    A safetensors file states the length of its data; an archive (of OpenAI's, or of `torch.save`) holds a checksum of every entry.
    """
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        return "is empty"
    if head.lstrip()[:1] == b"<":
        return "is a web page, not weights: the address that it came from answered with a page"
    if head[8:9] == b"{" and not head.startswith(b"PK"):
        return _wrong_with_safetensors(path, n_bytes)
    if head.startswith(b"PK"):
        return _wrong_with_archive(path, n_bytes)
    if head.startswith(b"\x80"):
        return ""  # a torch.save file of the old kind: nothing in it tells its length
    return "is no weights file (safetensors, torch.save and OpenAI's archives are)"


def _wrong_with_safetensors(path: Path, n_bytes: int) -> str:
    with path.open("rb") as file:
        (n_header,) = struct.unpack("<Q", file.read(8))
        if n_header > min(n_bytes - 8, MAX_HEADER_BYTES):
            return f"is truncated within its header ({n_bytes:,} bytes)"
        try:
            header = json.loads(file.read(n_header))
            end = max((entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            return "is damaged: its header is no safetensors header"
    expected = 8 + n_header + end
    return "" if n_bytes == expected else f"is truncated or damaged: it has {n_bytes:,} bytes, and its header states {expected:,}"


def _wrong_with_archive(path: Path, n_bytes: int) -> str:
    if not zipfile.is_zipfile(path):
        return f"is truncated: it begins as an archive, but its end is missing ({n_bytes:,} bytes)"
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_EXPANSION * n_bytes:
                return f"would unpack to more than {MAX_EXPANSION} times its {n_bytes:,} bytes, which weights do not"
            broken = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        return f"is damaged: {' '.join(str(error).split()) or type(error).__name__}"
    return "" if broken is None else f"is damaged: the checksum of its entry {broken} is wrong"
