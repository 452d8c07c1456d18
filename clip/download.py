"""Downloads that end whole or with a message: resumed, bounded in time and in space, and never half a file under a file's name.

What has come stands in ``.<name>.<source>.part`` beside the file, with what tells whether the server still has the same file in a ``.json`` beside that;
the file itself appears when its size and hash are right. Nothing here imports torch. Proxies are those of the environment (``HTTPS_PROXY``,
``HTTP_PROXY``, ``NO_PROXY``).
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .checksums import digest_of
from .deadline import within

USER_AGENT = "Mozilla/5.0 (compatible; modular-prompt-learning)"  # some pages of datasets answer 403 to Python's own
BLOCK = 2**18  # bytes
LOOK_BYTES = 2**24  # of a file whose size nobody tells, after which the room on the disk is looked at again
SPARE_BYTES = 64 * 2**20  # left free on a disk; our choice: enough for logs and small files of everybody else
LOCKS = ".locks"
"""Folder beside files that are downloaded, with a lock for each; locks stay, since one that another process waits at cannot be removed safely."""

MAX_TRIES = 100  # our choice: a line that breaks a hundred times is given up for this time; what came stays


class DownloadError(OSError):
    """A source did not give the file; the message names the source and says what it did instead."""


class DiskSpaceError(DownloadError):
    """There is not enough room on the disk, so that another source would not help either."""


class _Interrupted(Exception):
    """A transfer ended before its end; another try may go on from there."""


@dataclass(frozen=True)
class Known:
    """What is known of a file before it comes; None for what is not.

    Args:
        size: bytes.
        sha256: 64 hexadecimal digits, or the first 8 or more of them.
        md5: 32 hexadecimal digits.
    """

    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    def what_is_wrong(self, path: Path) -> str:
        """What distinguishes the file from this one; an empty string if nothing does."""
        if self.size is not None and path.stat().st_size != self.size:
            return f"has {path.stat().st_size:,} bytes, not {self.size:,}"
        for name, expected in (("SHA-256", self.sha256), ("MD5", self.md5)):
            if expected:
                found = digest_of(path, name.replace("-", "").lower())
                if not found.startswith(expected.lower()):
                    return f"has {name} {found}, not {expected}"
        return ""


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for. All values are our choice.

    Args:
        timeout: seconds to connect, and between two blocks.
        head: seconds until the head of an answer is there, with all redirections.
        min_rate: bytes a second, on average over ``window``, below which a server is given up; at 4 KiB the smallest archive takes hours.
        window: seconds.
        tries: tries in a row that bring not a byte more.
        pause: seconds between two tries.
    """

    timeout: float = 20
    head: float = 60
    min_rate: float = 4096
    window: float = 60
    tries: int = 3
    pause: float = 1


PATIENCE = Patience()


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE says that nothing may be fetched."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in {"1", "ON", "YES", "TRUE"}


def check_space(folder: Path, n_bytes: int, purpose: str) -> None:
    """Check that ``n_bytes`` more fit on the disk of ``folder``; DiskSpaceError, which names ``purpose``, if not."""
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    if n_bytes + SPARE_BYTES > free:
        raise DiskSpaceError(
            f"{purpose} needs {n_bytes:,} bytes ({n_bytes / 2**30:.1f} GiB) in {folder}, where {free:,} are free ({SPARE_BYTES:,} are left in reserve): "
            "make room or take a folder on another disk"
        )


@contextlib.contextmanager
def locked(path: Path, purpose: str) -> Iterator[None]:
    """Hold the lock file ``path``; where another process holds it, that is said and it is waited for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(path))
    try:
        lock.acquire(timeout=0.2)
    except Timeout:
        print(f"Waiting for another process that is busy with {purpose} ({path})", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def download(
    url: str,
    path: Path,
    known: Known = Known(),  # noqa: B008  (frozen)
    *,
    identity: str | None = None,
    patience: Patience | None = None,
    opener: urllib.request.OpenerDirector | None = None,
) -> Path:
    """Fetch ``url`` to ``path``, whole and right or not at all, going on where an earlier call for the same file was interrupted.

    Args:
        url: an http or https address.
        path: where the file goes; a file there is replaced, unless another process has put it there while this one waited.
        known: size and hashes that the file must have.
        identity: what an interrupted download goes by, if the address is another every time; by default the address.
        patience: time limits; by default ``PATIENCE``.
        opener: what opens addresses, such as one with cookies.

    Returns:
        ``path``.

    Raises:
        DiskSpaceError: the disk is full or would be.
        DownloadError: anything else; what has come of a file that may still be right is kept.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url} is no http or https address")
    was_there = path.is_file()
    with locked(path.parent / LOCKS / f"{path.name}.lock", path.name):
        if path.is_file() and not was_there:
            return path
        part = _Part(path, identity or url)
        transfer = _Transfer(url, part, known, patience or PATIENCE, opener or urllib.request.build_opener())
        try:
            transfer.run()
            wrong = known.what_is_wrong(part.path)
            if wrong:
                part.discard()
                raise DownloadError(f"{url}: what came {wrong}; it was thrown away")
            os.replace(part.path, path)
            part.discard()
        except OSError as e:
            if isinstance(e, DownloadError):
                raise
            raise _of_disk(e, url, part.path) from e
    return path


class _Part:
    """What has come of a file, and the server's mark (ETag or date) of the file that it is a part of."""

    def __init__(self, path: Path, identity: str) -> None:
        self.target, self.identity = path, identity
        stem = f".{path.name}.{zlib.crc32(identity.encode()):08x}.part"  # a part of its own for every source
        self.path, self.facts_path = path.with_name(stem), path.with_name(f"{stem}.json")
        self.facts = self._read_facts()
        if self.facts.get("identity") != identity:
            self.discard()

    def _read_facts(self) -> dict[str, Any]:
        try:
            facts = json.loads(self.facts_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def is_whole(self) -> bool:
        """Whether all has come already, but was not put into place."""
        return self.size > 0 and self.facts.get("total") == self.size

    def begin(self, mark: str | None, total: int | None) -> None:
        """Start afresh with the file that the server has now."""
        self.facts = {"identity": self.identity, "mark": mark}
        self.path.write_bytes(b"")
        self.note_total(total)

    def note_total(self, total: int | None) -> None:
        """Keep how many bytes there will be, which some servers tell only when they are asked for the rest."""
        self.facts["total"] = total
        self.facts_path.write_text(json.dumps(self.facts), encoding="utf-8")

    def discard(self) -> None:
        """Forget what has come."""
        self.facts = {}
        self.path.unlink(missing_ok=True)
        self.facts_path.unlink(missing_ok=True)


class _Transfer:
    """One download: requests until all has come or the server's credit is used up."""

    def __init__(self, url: str, part: _Part, known: Known, patience: Patience, opener: urllib.request.OpenerDirector) -> None:
        self.url, self.part, self.known, self.patience, self.opener = url, part, known, patience, opener

    def run(self) -> None:
        """Fill the part."""
        most, fruitless = self.part.size, 0
        for _ in range(MAX_TRIES):
            if self.part.is_whole:
                return
            try:
                self._request()
                return
            except _Interrupted as e:
                reason = str(e)
            fruitless = 0 if self.part.size > most else fruitless + 1
            most = max(most, self.part.size)
            if fruitless >= self.patience.tries:
                break
            time.sleep(self.patience.pause)
        raise DownloadError(f"{self.url}: {reason}; {self.part.size:,} bytes are kept for the next try")

    def _request(self) -> None:
        offset, mark = self.part.size, self.part.facts.get("mark")
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        if offset and mark:  # without a mark, the rest might be of another file
            headers |= {"Range": f"bytes={offset}-", "If-Range": mark}
        try:
            request = urllib.request.Request(self.url, headers=headers)
            response = within(self.patience.head, lambda: self.opener.open(request, timeout=self.patience.timeout))
        except urllib.error.HTTPError as e:
            e.close()
            if e.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
                self.part.discard()
                raise _Interrupted("the file has changed on the server") from e
            raise DownloadError(f"{self.url}: HTTP Error {e.code} ({e.reason})") from e
        except (urllib.error.URLError, http.client.HTTPException, OSError) as e:
            raise DownloadError(f"{self.url} cannot be reached: {_why(e)}") from e
        with response:
            offset, total = self._place(response, offset)
            self._check(response, total)
            self._check_space((total or self.known.size or offset) - offset)
            if not offset:
                self.part.begin(_mark_of(response), total)
            self._receive(response, offset, total)

    def _place(self, response: Any, asked: int) -> tuple[int, int | None]:
        """From which byte on the server sends, and of how many in all."""
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != asked:
                self.part.discard()
                raise _Interrupted(f"it sent another range than it was asked for ({response.headers.get('Content-Range')})")
            self.part.note_total(int(found[2]))
            return asked, int(found[2])
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None

    def _check(self, response: Any, total: int | None) -> None:
        """Refuse another file than the one that was asked for, before it comes."""
        if response.headers.get_content_type() in ("text/html", "application/xhtml+xml") and not self.part.target.suffix.startswith(".htm"):
            raise DownloadError(
                f"{self.url} sends a web page, not the file (it may ask for a login, a confirmation or have too many visitors today)"
            )
        if self.known.size is not None and total is not None and total != self.known.size:
            raise DownloadError(f"{self.url} has {total:,} bytes, not {self.known.size:,}: it is another file")

    def _check_space(self, n_bytes: int) -> None:
        check_space(self.part.path.parent, n_bytes, f"{self.part.target.name}, a download,")

    def _receive(self, response: Any, offset: int, total: int | None) -> None:
        from tqdm import tqdm

        pace, looked_at = _Pace(self.patience), offset
        with (
            self.part.path.open("ab") as file,
            tqdm(total=total, initial=offset, unit="B", unit_scale=True, desc=self.part.target.name, disable=None) as bar,
        ):
            while block := self._read(response):
                if offset == 0 and _is_page(block):
                    raise DownloadError(f"{self.url} sends a web page, not the file")
                file.write(block)
                offset += len(block)
                bar.update(len(block))
                if self.known.size is not None and offset > self.known.size:
                    self.part.discard()
                    raise DownloadError(f"{self.url} sends more than the {self.known.size:,} bytes that the file has; it was thrown away")
                if total is None and offset - looked_at >= LOOK_BYTES:
                    looked_at = offset
                    self._check_space(LOOK_BYTES)
                if not pace.keeps(len(block)):
                    raise DownloadError(
                        f"{self.url} sends less than {self.patience.min_rate:,.0f} bytes a second; {offset:,} bytes are kept for the next try"
                    )
        if total is not None and offset != total:
            raise _Interrupted(f"the connection ended after {offset:,} of {total:,} bytes")

    def _read(self, response: Any) -> bytes:
        """What comes next, without waiting until a whole block is full; empty at the end."""
        try:
            return response.read1(BLOCK)
        except (http.client.HTTPException, OSError) as e:
            raise _Interrupted(f"the connection broke ({_why(e)})") from e


class _Pace:
    """Bytes a second, window by window."""

    def __init__(self, patience: Patience) -> None:
        self.patience, self.start, self.n_bytes = patience, time.monotonic(), 0

    def keeps(self, n_bytes: int) -> bool:
        """Count bytes; False at the end of a window that brought too few."""
        self.n_bytes += n_bytes
        seconds = time.monotonic() - self.start
        if seconds < self.patience.window:
            return True
        fast_enough = self.n_bytes >= self.patience.min_rate * seconds
        self.start, self.n_bytes = time.monotonic(), 0
        return fast_enough


def check_answers(url: str) -> None:
    """Ask a server for a file's head, once; DownloadError if it cannot be reached or has an error of its own (5xx).

    For clients that would try such a server for half a minute and more. Redirections are not followed, other answers are left to the client.
    """
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": USER_AGENT})
    try:
        within(PATIENCE.head, lambda: urllib.request.build_opener(_NoRedirection).open(request, timeout=PATIENCE.timeout)).close()
    except urllib.error.HTTPError as e:
        e.close()
        if e.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            raise DownloadError(f"{url}: HTTP Error {e.code} ({e.reason})") from e
    except (urllib.error.URLError, http.client.HTTPException, OSError) as e:
        raise DownloadError(f"{url} cannot be reached: {_why(e)}") from e


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """None: a redirection is an answer."""


def _mark_of(response: Any) -> str | None:
    """What tells whether the file is the same at the next request; weak ETags do not."""
    etag = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


def _is_page(block: bytes) -> bool:
    return block[:200].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return "it does not answer in time" if isinstance(reason, TimeoutError) else str(reason) or type(reason).__name__


def _of_disk(error: OSError, url: str, path: Path) -> DownloadError:
    """The error for a file that cannot be written."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
        return DiskSpaceError(f"the disk is full: {path} cannot take more of {url}; what came is kept, make room and run again")
    return DownloadError(f"{path} cannot be written ({error}) with what {url} sends")
