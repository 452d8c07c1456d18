"""Hostile and damaged archives: nothing is written outside of the folder, and nothing is kept."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from prepare.archives import find, put_in_place, unpack
from prepare.sources import File
from tests.prepare.archives import tar, zipped

IMAGES = File("a.archive", (), {"images": "images"}, {}, "archive")


def tar_with_link() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("images/bad")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    return buffer.getvalue()


def zip_with_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("images/a.jpg", b"abc")
        link = zipfile.ZipInfo("images/bad")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, b"/etc")
    return buffer.getvalue()


REFUSED = {
    "path": tar({"images/a.jpg": b"abc", "../outside": b"x"}),
    "symbolic link": tar_with_link(),
    "cut gz": tar({"images/a": b"abc" * 1000, "images/b": bytes(range(256)) * 9})[:-60],
    "web page": b"<!DOCTYPE html><html></html>",
    "another archive": tar({"pictures/a.jpg": b"a"}),
}
STAY_INSIDE = {  # the library writes these entries as plain files within the folder
    "path": zipped({"images/a.jpg": b"abc", "../outside": b"x"}),
    "absolute path": zipped({"images/a.jpg": b"abc", "/outside": b"x"}),
    "symbolic link": zip_with_link(),
}


@pytest.fixture
def place(tmp_path: Path) -> Callable[[bytes], None]:
    """Puts an archive in a dataset's folder, in which a file is already."""
    (tmp_path / "world/data/set").mkdir(parents=True)
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


@pytest.mark.parametrize("kind", STAY_INSIDE)
def test_a_hostile_path_stays_inside(kind: str, place: Callable, tmp_path: Path) -> None:
    place(STAY_INSIDE[kind])
    assert (tmp_path / "world/data/set/images/a.jpg").read_bytes() == b"abc"
    outside = [path for path in tmp_path.rglob("outside") if "set" not in path.parts]
    assert not outside and not Path("/outside").exists()
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_what_an_archive_holds_is_found(tmp_path: Path) -> None:
    """At any depth, the nearest to the top; in an archive within the archive; in a folder of its own name."""
    inner = tar({"deep/wanted/a.jpg": b"inner"})
    files = {"x/y/images/b.jpg": b"b", "x/images/images/a.jpg": b"a", "z/wanted.tar.gz": inner}
    (tmp_path / "archive").write_bytes(tar(files, ""))
    (tmp_path / "tree").mkdir()
    unpack(tmp_path / "archive", tmp_path / "tree")
    images, wanted = find(tmp_path / "tree", "images"), find(tmp_path / "tree", "wanted")
    assert images is not None and (images / "a.jpg").read_bytes() == b"a"
    assert wanted is not None and (wanted / "a.jpg").read_bytes() == b"inner"
    assert find(tmp_path / "tree", "nowhere") is None


def test_what_a_killed_run_left_is_removed(place: Callable, tmp_path: Path) -> None:
    left = tmp_path / "world/data/set/.unpacking/images/half.jpg"
    left.parent.mkdir(parents=True)
    left.touch()
    place(tar({"images/a.jpg": b"a"}))
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["a.archive", "a.jpg", "kept.txt"]
