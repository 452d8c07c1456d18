"""SHA-256 of weights files, remembered so that a file of hundreds of megabytes is hashed once and not at every run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from pathlib import Path

SETTLED_SECONDS = 2  # a file changed more recently is hashed again: some file systems keep times to 2 s (FAT), so a later change could hide


def cache_dir() -> Path:
    """Folder of OpenAI's CLIP client, shared with it and with open_clip."""
    return Path("~/.cache/clip").expanduser()


def remembered_sha256(path: Path) -> str:
    """SHA-256 of a cached file, computed again only if the file changed since it was last computed.

    What is remembered stands in ``sha256.json`` of :func:`cache_dir` with what tells a change: size, inode, and the times of the last change of the content
    and of the file (the second cannot be set back by a copying program). A folder that cannot be written to, or a memory that cannot be read, costs the
    time of hashing and nothing else.
    """
    key, memory_path = str(path.resolve()), cache_dir() / "sha256.json"
    identity = _identity(path)
    memory = _read_memory(memory_path)
    entry = memory.get(key)
    if isinstance(entry, dict) and entry.get("identity") == identity and re.fullmatch(r"[0-9a-f]{64}", str(entry.get("sha256"))):
        return str(entry["sha256"])
    digest = sha256_of(path)
    status = path.stat()
    settled = time.time() - max(status.st_mtime, status.st_ctime) >= SETTLED_SECONDS
    if settled and _identity(path) == identity:
        kept = {k: v for k, v in _read_memory(memory_path).items() if os.path.exists(k)}
        with contextlib.suppress(OSError):
            _write_whole(memory_path, json.dumps({**kept, key: {"identity": identity, "sha256": digest}}, indent=1))
    return digest


def _identity(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def _read_memory(path: Path) -> dict[str, object]:
    try:
        memory = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return memory if isinstance(memory, dict) else {}


def _write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all, whoever else writes it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    return digest_of(path, "sha256")


def digest_of(path: Path, algorithm: str) -> str:
    """A file's hash in hexadecimal digits, by an algorithm that ``hashlib`` knows, such as ``md5``."""
    digest = hashlib.new(algorithm)
    with path.open("rb") as f:
        while block := f.read(2**20):
            digest.update(block)
    return digest.hexdigest()
