"""Downloads against a server that does everything wrong: whole and right, or a message, and never half a file under its name."""

from __future__ import annotations

import errno
import hashlib
import random
import threading
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from clip import download as downloading
from clip.download import LOCKS, DiskSpaceError, DownloadError, Known, Patience, check_answers, check_space, download
from preparation import fetch
from preparation.sources import Source
from tests.preparation.server import Server

CONTENT = random.Random(5).randbytes(50_000)
KNOWN = Known(len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest())


@pytest.fixture
def file(server: Server) -> str:
    """The address of a file."""
    server.files["/a.zip"] = CONTENT
    return f"{server.url}/a.zip"


def names(folder: Path) -> list[str]:
    """What is in a folder, but for the locks that others may wait at."""
    return sorted(path.name for path in folder.iterdir() if path.name != LOCKS)


def test_a_file_comes_whole(file: str, tmp_path: Path) -> None:
    assert download(file, tmp_path / "new/a.zip", KNOWN).read_bytes() == CONTENT
    assert names(tmp_path / "new") == ["a.zip"]


@pytest.mark.parametrize("cut_at", [1, 999, 1000, 25_000, len(CONTENT) - 1])
def test_a_cut_download_goes_on_where_it_stopped(cut_at: int, file: str, server: Server, tmp_path: Path) -> None:
    server.cut_at, server.behaviour["/a.zip"] = cut_at, "cut once"
    download(file, tmp_path / "a.zip", KNOWN)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    first, second = server.asked("/a.zip")
    assert (first["Range"], second["Range"]) == (None, f"bytes={cut_at}-")
    assert second["If-Range"] == f'"{KNOWN.sha256}"'


@pytest.mark.parametrize("behaviour", ["cut", "chunked", "chunked cut"])
def test_answers_in_pieces(behaviour: str, file: str, server: Server, tmp_path: Path) -> None:
    server.behaviour["/a.zip"] = behaviour
    assert download(file, tmp_path / "a.zip", KNOWN).read_bytes() == CONTENT


def test_what_came_is_kept_for_the_next_run(file: str, server: Server, tmp_path: Path) -> None:
    server.cut_at, server.behaviour["/a.zip"] = 0, "cut"
    with pytest.raises(DownloadError, match="ended after 0 of 50,000 bytes"):
        download(file, tmp_path / "a.zip", KNOWN)
    server.cut_at = 30_000
    server.behaviour["/a.zip"] = "cut, no ranges"
    with pytest.raises(DownloadError, match="30,000 bytes are kept for the next try"):
        download(file, tmp_path / "a.zip", KNOWN)
    assert not (tmp_path / "a.zip").exists()
    server.behaviour.clear()
    download(file, tmp_path / "a.zip", KNOWN)
    assert server.asked("/a.zip")[-1]["Range"] == "bytes=30000-"
    assert names(tmp_path) == ["a.zip"]


def test_a_file_that_changed_on_the_server_starts_afresh(file: str, server: Server, tmp_path: Path) -> None:
    server.cut_at, server.behaviour["/a.zip"] = 30_000, "cut, no ranges"
    with pytest.raises(DownloadError):
        download(file, tmp_path / "a.zip")
    server.behaviour.clear()
    server.files["/a.zip"] = newer = random.Random(6).randbytes(40_000)
    assert download(file, tmp_path / "a.zip").read_bytes() == newer


def test_a_part_that_is_whole_already_is_not_fetched_again(
    file: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # killed between the last byte and the renaming
        patch.setattr(downloading.os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            download(file, tmp_path / "a.zip", KNOWN)
    download(file, tmp_path / "a.zip", KNOWN)
    assert len(server.asked("/a.zip")) == 1 and (tmp_path / "a.zip").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("404", ": HTTP Error 404 (Not Found)"),
        ("403", ": HTTP Error 403 (Forbidden)"),
        ("503", ": HTTP Error 503"),
        ("page", "sends a web page, not the file"),
        ("silent", "does not answer in time"),
        ("drip", "sends less than 4,096 bytes a second"),
        ("wrong", "has SHA-256"),
        ("short", "has 49,993 bytes, not 50,000: it is another file"),
        ("cut, no ranges", "the connection ended after 1,000 of 50,000 bytes"),
    ],
)
def test_what_goes_wrong_is_told(behaviour: str, message: str, file: str, server: Server, tmp_path: Path) -> None:
    server.behaviour["/a.zip"] = behaviour
    with pytest.raises(DownloadError) as raised:
        download(file, tmp_path / "a.zip", KNOWN)
    assert message in str(raised.value) and file in str(raised.value)
    assert not (tmp_path / "a.zip").exists()


def test_an_answer_whose_head_never_ends_is_given_up(file: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then, each well within the time that is allowed between two; also of Drive's page."""
    server.behaviour |= {"/a.zip": "drip head", "/drive/1": "drip page"}
    hasty = Patience(timeout=1.0, head=0.3)
    monkeypatch.setattr(downloading, "PATIENCE", hasty)
    monkeypatch.setattr(fetch, "PATIENCE", hasty)
    drive = Source("drive", "1", "", "a.zip", None, None, None)
    for ask in (lambda: download(file, tmp_path / "a.zip"), lambda: check_answers(file), lambda: fetch.obtain(drive, tmp_path)):
        started = time.monotonic()
        with pytest.raises(DownloadError, match="cannot be reached: (it does not answer in time|no answer within 0.3 seconds)"):
            ask()
        assert time.monotonic() - started < 5


def test_a_page_without_a_content_type_is_no_file(file: str, server: Server, tmp_path: Path) -> None:
    server.files["/a.zip"] = b"\n<!DOCTYPE HTML><html>"
    with pytest.raises(DownloadError, match="web page"):
        download(file, tmp_path / "a.zip")


@pytest.mark.parametrize("known", [Known(md5="0" * 32), Known(sha256="0" * 8), Known(size=3)])
def test_each_known_fact_is_held_against_what_comes(known: Known, file: str, server: Server, tmp_path: Path) -> None:
    server.behaviour["/a.zip"] = "chunked"  # which does not tell the size before
    with pytest.raises(DownloadError, match="thrown away"):
        download(file, tmp_path / "a.zip", known)
    assert names(tmp_path) == []


def test_a_file_that_never_ends_is_given_up_at_its_known_size(file: str, server: Server, tmp_path: Path) -> None:
    server.behaviour["/a.zip"] = "endless"
    with pytest.raises(DownloadError, match="sends more than the 50,000 bytes that the file has"):
        download(file, tmp_path / "a.zip", KNOWN)
    assert names(tmp_path) == []


def test_a_file_of_unknown_size_does_not_fill_the_disk(file: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.behaviour["/a.zip"] = "endless"
    monkeypatch.setattr(downloading, "LOOK_BYTES", 10**6)
    usage, free = namedtuple("usage", "total used free"), downloading.SPARE_BYTES + 3_500_000
    part = lambda: sum(path.stat().st_size for path in tmp_path.glob("*.part"))  # noqa: E731
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: usage(10**9, 0, free - part()))
    with pytest.raises(DiskSpaceError, match=r"a\.zip, a download, needs 1,000,000 bytes"):
        download(file, tmp_path / "a.zip")
    assert 10**6 < part() < 3_500_000 and not (tmp_path / "a.zip").exists()


def test_no_server_and_no_address(tmp_path: Path, server: Server) -> None:
    with pytest.raises(DownloadError, match="cannot be reached"):
        download("http://127.0.0.1:9/a.zip", tmp_path / "a.zip", patience=Patience(timeout=0.5))
    with pytest.raises(DownloadError, match="no http or https address"):
        download("file:///etc/hostname", tmp_path / "a.zip")


def test_a_disk_without_room_is_told_before_a_byte_comes(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 5000, 5000))
    with pytest.raises(DiskSpaceError, match="needs 50,000 bytes .* 5,000 are free"):
        download(file, tmp_path / "a.zip", KNOWN)
    assert names(tmp_path) == []
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: usage(10**9, 0, 10**9))
    check_space(tmp_path / "not/yet/there", 10**6, "x")


def test_a_disk_that_fills_up_keeps_what_came(file: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = Path.open

    def full(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        if "a" in mode:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_open(path, mode, *more, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(DiskSpaceError, match="the disk is full"):
            download(file, tmp_path / "a.zip", KNOWN)
    assert not (tmp_path / "a.zip").exists()
    assert download(file, tmp_path / "a.zip", KNOWN).read_bytes() == CONTENT


def test_two_at_once_fetch_once(file: str, server: Server, tmp_path: Path) -> None:
    threads = [threading.Thread(target=download, args=(file, tmp_path / "a.zip", KNOWN)) for _ in range(4)]
    with downloading.locked(tmp_path / LOCKS / "a.zip.lock", "the test"):  # so that all of them have to wait
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a.zip").read_bytes() == CONTENT and len(server.asked("/a.zip")) == 1


def test_a_proxy_of_the_environment_is_used(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    server.files["/a.zip"] = CONTENT
    assert download("http://pictures.example/a.zip", tmp_path / "a.zip", KNOWN).read_bytes() == CONTENT
    assert server.requests[0][1] == "http://pictures.example/a.zip"


def test_a_proxy_for_https_is_asked_for_a_tunnel(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(DownloadError, match="cannot be reached: Tunnel connection failed: 404"):
        download("https://pictures.example/a.zip", tmp_path / "a.zip", KNOWN)
    assert [request[:2] for request in server.requests] == [("CONNECT", "pictures.example:443")]


def test_a_server_in_trouble_is_told_from_one_that_answers(file: str, server: Server) -> None:
    check_answers(file)
    check_answers(f"{server.url}/none")  # 404 is an answer
    server.behaviour["/a.zip"] = "502"
    with pytest.raises(DownloadError, match="HTTP Error 502"):
        check_answers(file)
    server.behaviour["/a.zip"] = "silent"
    with pytest.raises(DownloadError, match="in time"):
        check_answers(file)
