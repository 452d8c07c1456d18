"""Getting one file from one source: a web address, Google Drive, the Hugging Face hub, or the project itself.

torchvision's dataset downloaders are not called: they neither go on with what was interrupted nor give a slow server up, and unpack into folders of their
own. What they know, addresses and MD5, stands in the table of sources; a test holds the two against each other.
"""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import replace
from pathlib import Path

from clip.deadline import within
from clip.download import PATIENCE, USER_AGENT, DownloadError, Known, download

from .errors import PrepareError
from .sources import PROJECT_FILES, Source

DRIVE_URL = "https://drive.google.com/uc?export=download&id={id}"
MAX_PAGE_BYTES = 2**22  # of Drive's page that asks whether to go on without a virus scan; it has some kilobytes


def obtain(source: Source, folder: Path) -> Path:
    """The file of a source, whole: one that is in ``folder`` already, or fetched into it.

    Args:
        source: where it comes from; not one by hand.
        folder: where downloads are kept. A file there has its full name only when it is whole and right.

    Raises:
        DownloadError: the source does not give it.
        DiskSpaceError: the disk is full or would be.
    """
    if source.way == "project":
        return PROJECT_FILES / source.address
    path, known = folder / source.name, Known(source.size, source.sha256, source.md5)
    if path.is_file() and not known.what_is_wrong(path):
        print(f"  {source.name} is here already, whole: {path}", flush=True)
        return path
    print(f"  Fetching {source.name}{_size(source.size)} from {source}", flush=True)
    if source.way == "url":
        return download(source.address, path, known)
    if source.way == "drive":
        return _from_drive(source.address, path, known)
    if source.way == "hub":
        return _from_hub(source, path, known)
    raise PrepareError(f"{source.name}: {source.address} is for people")


def _from_drive(file_id: str, path: Path, known: Known) -> Path:
    """From Google Drive: gdown reads the page that Drive puts before large files, the download is the same as any other.

    gdown's own download knows no least rate and, before version 6, no time limit; so it is asked for the address alone.
    """
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    first = DRIVE_URL.format(id=urllib.parse.quote(file_id))
    return download(_behind_page(first, opener), path, known, identity=f"drive:{file_id}", opener=opener)


def _behind_page(url: str, opener: urllib.request.OpenerDirector) -> str:
    """The address of the file itself: ``url``, or what the page there leads to."""

    def page_there() -> str | None:
        with opener.open(urllib.request.Request(url, headers={"User-Agent": USER_AGENT}), timeout=PATIENCE.timeout) as response:
            is_page = response.headers.get_content_type() == "text/html"
            return response.read(MAX_PAGE_BYTES).decode("utf-8", "replace") if is_page else None

    try:
        page = within(PATIENCE.head, page_there)
    except urllib.error.HTTPError as e:
        e.close()
        raise DownloadError(f"{url}: HTTP Error {e.code} ({e.reason}); the file may be gone or not shared any more") from e
    except (OSError, ValueError) as e:
        raise DownloadError(f"{url} cannot be reached: {getattr(e, 'reason', e)}") from e
    if page is None:
        return url
    try:
        from gdown.download import get_url_from_gdrive_confirmation
    except ImportError as e:
        raise DownloadError(f"{url} needs gdown, which is not installed: pip install gdown") from e
    try:
        return get_url_from_gdrive_confirmation(page)
    except Exception as e:  # gdown's error types differ from version to version
        reason = " ".join(str(e).split())[:200]
        raise DownloadError(f"{url} does not give the file: {reason} (many downloads in a day make Drive close it for a day)") from e


def _from_hub(source: Source, path: Path, known: Known) -> Path:
    """From the hub: huggingface_hub gives the address (of ``HF_ENDPOINT``), the size and, of large files, the SHA-256."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    owner, repository, file = source.address.split("/", 2)
    endpoint = os.environ.get("HF_ENDPOINT") or None
    url = hf_hub_url(f"{owner}/{repository}", file, repo_type="dataset", revision=source.revision or None, endpoint=endpoint)
    try:
        facts = within(PATIENCE.head, lambda: get_hf_file_metadata(url, timeout=PATIENCE.timeout))
    except Exception as e:  # what the hub's client raises depends on its version and HTTP library
        raise DownloadError(f"{url} cannot be had: {' '.join(str(e).split())[:300] or type(e).__name__}") from e
    if re.fullmatch(r"[0-9a-f]{64}", facts.etag or "") and known.sha256 is None:
        known = replace(known, sha256=facts.etag)
    if known.size is None:
        known = replace(known, size=facts.size)
    return download(url, path, known, identity=f"hub:{source.address}:{facts.etag}")


def _size(n_bytes: int | None) -> str:
    if n_bytes is None:
        return ""
    return f" ({n_bytes / 2**20:,.0f} MiB)" if n_bytes >= 2**20 else f" ({n_bytes:,} bytes)"
