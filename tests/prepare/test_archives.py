"""Hostile and damaged archives: nothing is written outside of the folder, and nothing is kept."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from prepare.archives import put_in_place
from prepare.sources import File
from tests.prepare.archives import tar, zipped

IMAGES = File("a.archive", (), {"images": "images"}, {}, "archive")


def link_in_tar() -> bytes:
    buffer, link = io.BytesIO(), tarfile.TarInfo("images/bad")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(link)
    return buffer.getvalue()


REFUSED = {
    "path": tar({"images/a.jpg": b"abc", "../outside": b"x"}),
    "symbolic link": link_in_tar(),
    "cut gz": tar({"images/a": b"abc" * 1000, "images/b": bytes(range(256)) * 9})[:-60],
    "web page": b"<!DOCTYPE html><html></html>",
    "another archive": tar({"pictures/a.jpg": b"a"}),
}


@pytest.fixture
def place(tmp_path: Path) -> Callable[[bytes], None]:
    """Puts an archive in a dataset's folder, in which are a file and what a killed run left."""
    (tmp_path / "world/data/set/.unpacking/images").mkdir(parents=True)
    (tmp_path / "world/data/set/.unpacking/images/half.jpg").touch()
    (tmp_path / "world/data/set/kept.txt").write_text("kept")

    def put(content: bytes) -> None:
        (tmp_path / "a.archive").write_bytes(content)
        put_in_place(tmp_path / "a.archive", IMAGES, tmp_path / "world/data/set", False)

    return put


@pytest.mark.parametrize("kind", REFUSED)
def test_a_bad_archive_is_refused(kind: str, place: Callable, tmp_path: Path) -> None:
    with pytest.raises((tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError)):
        place(REFUSED[kind])
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["a.archive", "kept.txt"]


def test_a_hostile_path_of_a_zip_stays_inside(place: Callable, tmp_path: Path) -> None:
    place(zipped({"images/a.jpg": b"abc", "../outside": b"x", "/outside": b"x"}))
    assert (tmp_path / "world/data/set/images/a.jpg").read_bytes() == b"abc"
    assert not list(tmp_path.rglob("half.jpg"))
    outside = [path for path in tmp_path.rglob("outside") if "set" not in path.parts]
    assert not outside and not Path("/outside").exists()
