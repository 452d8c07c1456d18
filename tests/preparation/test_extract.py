"""Archives that want to do harm, or are damaged: refused by name of the entry, with nothing written outside of the folder and nothing kept."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from clip.download import DiskSpaceError
from preparation import extract as extracting
from preparation.arrange import arrange, find
from preparation.errors import ArchiveError
from preparation.extract import extract
from tests.preparation.archives import tar, zipped

GOOD = {"images/a.jpg": b"a" * 100, "images/deep/b.jpg": b"b"}


def tar_with(compression: str = "gz", **fields: object) -> bytes:
    """A tar with one good file and one entry with these fields."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        good = tarfile.TarInfo("images/a.jpg")
        good.size = 3
        archive.addfile(good, io.BytesIO(b"abc"))
        bad = tarfile.TarInfo("images/bad")
        for key, value in fields.items():
            setattr(bad, key, value)
        archive.addfile(bad, io.BytesIO(b"x" * bad.size))
    return buffer.getvalue()


def zip_with(name: str, mode: int = stat.S_IFREG | 0o644, content: bytes = b"x") -> bytes:
    """A zip with one good file and one entry of this name and kind."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("images/a.jpg", b"abc")
        info = zipfile.ZipInfo("placeholder")
        info.filename, info.external_attr, info.create_system = name, mode << 16, 3
        archive.writestr(info, content)
    return buffer.getvalue()


PATHS = ["../outside", "images/../../outside", "/outside", "..\\outside", "C:\\outside", "C:outside", "\\\\host\\share\\outside"]
HOSTILE = {
    **{f"tar, {name}": (tar_with(name=name, size=1), "leaves the folder") for name in PATHS},
    **{f"zip, {name}": (zip_with(name), "leaves the folder") for name in PATHS},
    "tar, symbolic link": (tar_with(type=tarfile.SYMTYPE, linkname="/etc"), "'images/bad', which is a link or a device"),
    "tar, symbolic link inside": (tar_with(type=tarfile.SYMTYPE, linkname="a.jpg"), "link or a device"),
    "tar, hard link": (tar_with(type=tarfile.LNKTYPE, linkname="images/a.jpg"), "link or a device"),
    "tar, device": (tar_with(type=tarfile.CHRTYPE, devmajor=1, devminor=3), "link or a device"),
    "tar, pipe": (tar_with("", type=tarfile.FIFOTYPE), "link or a device"),
    "zip, symbolic link": (zip_with("images/bad", stat.S_IFLNK | 0o777, b"/etc"), "link or a device"),
    "zip, device": (zip_with("images/bad", stat.S_IFCHR | 0o644), "link or a device"),
}


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Arranges an archive in a dataset's folder, where it has to be refused and to leave nothing; gives the message."""

    def refuse(content: bytes, error: type[Exception] = ArchiveError, is_verified: bool = False) -> str:
        archive, folder = tmp_path / "a.archive", tmp_path / "world/data/set"
        archive.write_bytes(content)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kept.txt").write_text("kept")
        with pytest.raises(error) as raised:
            arrange(archive, folder, {"images": "images"}, {}, is_verified, replaces=False)
        assert sorted(path.name for path in (tmp_path / "world").rglob("*")) == ["data", "kept.txt", "set"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.archive", "world"]
        return str(raised.value)

    return refuse


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_entry_is_refused(kind: str, refused: Callable[..., str]) -> None:
    content, message = HOSTILE[kind]
    assert message in refused(content)


def test_a_link_and_a_file_behind_it_do_not_leave_the_folder(refused: Callable[..., str], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("images")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "world")
        archive.addfile(link)
        behind = tarfile.TarInfo("images/outside")
        behind.size = 1
        archive.addfile(behind, io.BytesIO(b"x"))
    assert "'images', which is a link" in refused(buffer.getvalue())


@pytest.mark.parametrize(
    "make", [zipped, tar, lambda files: tar(files, "bz2"), lambda files: tar(files, "xz")], ids=["zip", "gz", "bz2", "xz"]
)
def test_a_bomb_is_refused_before_it_fills_the_disk(make: Callable, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracting, "FREE_BYTES", 2**20)
    bomb = make({"images/zeros": bytes(8 * 2**20)})
    assert len(bomb) < 20_000
    assert "refused as a bomb" in refused(bomb)


def test_a_zip_that_lies_about_its_sizes_is_refused(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracting, "FREE_BYTES", 2**20)
    bomb = zipped({"images/zeros": bytes(8 * 2**20)})
    lying = bomb.replace((8 * 2**20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert lying != bomb
    refused(lying)


def test_a_bomb_in_a_tar_s_headers_is_refused(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracting, "FREE_BYTES", 2**20)
    assert "bomb" in refused(tar_with(name="images/" + "a" * (4 * 2**20)))


def test_a_bomb_inside_of_a_bomb_is_refused(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracting, "FREE_BYTES", 2**20)
    assert "bomb" in refused(zipped({"x/images.tar.gz": tar({"images/zeros": bytes(8 * 2**20)})}))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_headers_that_announce_headers_without_end_are_refused(kind: bytes, refused: Callable[..., str]) -> None:
    header, text = tarfile.TarInfo("images/a"), b"12 path=abc\n"
    header.type, header.size = kind, len(text)
    endless = (header.tobuf(tarfile.GNU_FORMAT) + text.ljust(tarfile.BLOCKSIZE, b"\0")) * 3000
    assert "damaged or no archive" in refused(endless + bytes(2 * tarfile.BLOCKSIZE))


def test_too_many_entries_are_refused(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracting, "MAX_ENTRIES", 50)
    files = {f"images/{i}": b"" for i in range(60)}
    for content in (zipped(files), tar(files)):
        assert "more than 50 entries" in refused(content)


def test_a_zip_with_a_password_is_told(refused: Callable[..., str]) -> None:
    content = bytearray(zipped({"images/a": b"x"}))
    content[6] |= 1  # the local header's flags
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert "password" in refused(bytes(content))


@pytest.mark.parametrize("kind", ["zip", "gz", "plain"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
def test_an_archive_cut_anywhere_is_damaged(kind: str, share: float, refused: Callable[..., str]) -> None:
    files = {f"images/{i}.jpg": bytes(range(256)) * (i + 1) for i in range(20)}
    whole = {"zip": zipped, "gz": tar, "plain": lambda f: tar(f, "")}[kind](files)
    end = len(whole.rstrip(b"\0")) if kind == "plain" else len(whole)
    message = refused(whole[: int(end * share)])
    assert "damaged or no archive" in message or "cut short" in message


def test_a_plain_tar_cut_between_two_files_is_noticed(refused: Callable[..., str]) -> None:
    whole = tar({"images/a.jpg": b"a" * 512, "images/b.jpg": b"b" * 512}, "")
    cut = whole[: whole.index(b"b" * 512) - 512]
    assert "cut short" in refused(cut)


@pytest.mark.parametrize(
    "content", [b"", b"no archive at all", b"<!DOCTYPE html>", gzip.compress(b"no tar", mtime=0), b"PK\x03\x04 but no more"]
)
def test_what_is_no_archive_is_told(content: bytes, refused: Callable[..., str]) -> None:
    refused(content)


def test_a_flipped_bit_is_noticed(refused: Callable[..., str]) -> None:
    for whole in (zipped({"images/a.jpg": bytes(range(256)) * 50}), tar({"images/a.jpg": bytes(range(256)) * 50})):
        middle = bytearray(whole)
        middle[len(whole) // 3] ^= 4
        assert "damaged" in refused(bytes(middle))


def test_an_archive_of_something_else_is_told(refused: Callable[..., str]) -> None:
    assert "does not hold images; it holds pictures" in refused(zipped({"pictures/a.jpg": b"x"}))


def test_a_full_disk_keeps_the_archive(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(extracting, "_write", full)
    assert "is whole and kept" in refused(zipped(GOOD), DiskSpaceError)
    assert "is whole and kept" in refused(tar(GOOD), DiskSpaceError)


@pytest.mark.parametrize("make", [zipped, tar, lambda files: tar(files, ""), lambda files: tar(files, "xz")])
def test_good_archives_are_unpacked_whatever_their_name(make: Callable, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(make(GOOD | {"__MACOSX/images/._a.jpg": b"junk", "images/.DS_Store": b"junk"}))
    arrange(tmp_path / "a.bin", tmp_path / "set", {"images": "pictures"}, {"labels": "labels"}, False, replaces=False)
    assert {str(p.relative_to(tmp_path / "set")): p.read_bytes() for p in (tmp_path / "set").rglob("*") if p.is_file()} == {
        "pictures/a.jpg": b"a" * 100,
        "pictures/deep/b.jpg": b"b",
    }
    mode = stat.S_IMODE((tmp_path / "set/pictures/a.jpg").stat().st_mode)
    assert not mode & 0o111 and mode & 0o400


def test_the_nearest_to_the_top_is_found(tmp_path: Path) -> None:
    for path in ("a/b/images/x", "z/images/y", "z/labels/labels/t"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert find(tmp_path, "images") == tmp_path / "z/images"
    assert find(tmp_path, "labels") == tmp_path / "z/labels/labels"
    assert find(tmp_path, "none") is None


def test_an_empty_folder_receives_only_what_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(GOOD))
    (tmp_path / "out").mkdir()
    extract(tmp_path / "a.zip", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").rglob("*")) == ["a.jpg", "b.jpg", "deep", "images"]
