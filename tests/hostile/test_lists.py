"""Splits, lists, class names and links from anywhere: each is read or refused in one short, printable message that names the file."""

import json
import os

import pytest

from datasets import splits
from datasets.fgvc_aircraft import FGVCAircraft
from datasets.folder import read_class_names as read_renamed
from datasets.folder_lists import read_list
from datasets.imagenet import read_class_names
from datasets.make_split import checked_rows
from datasets.images import check_present
from datasets.splits import Row, Split, read_split_file

GOOD = {"train": [["a/1.jpg", 0, "a"]], "val": [], "test": [["a/2.jpg", 0, "a"]]}


def refused(read, path, content):
    """The message with which `read` refuses a file of this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError) as raised:
        read(path)
    message = str(raised.value)
    assert str(path) in message and len(message) < 1500
    message.encode()  # can be printed
    assert "\x1b" not in message
    return message


def read_split(path):
    split = read_split_file(path, "EuroSAT")
    split.check_classes()
    return split


def row(*fields):
    return json.dumps({**GOOD, "train": [*GOOD["train"], list(fields)]})


SPLITS = {
    "absolute": (row("/etc/passwd", 0, "a"), "'train', row 1: its path is absolute"),
    "drive": (row("C:/a.jpg", 0, "a"), "its path is absolute"),
    "network": (row("\\\\host\\a.jpg", 0, "a"), "its path is absolute"),
    "upwards": (row("a/../../b.jpg", 0, "a"), 'its path leaves the image folder by ".."'),
    "upwards, Windows": (row("a\\..\\..\\b.jpg", 0, "a"), 'its path leaves the image folder by ".."'),
    "NUL": (row("a\0.jpg", 0, "a"), "its path is not a usable string"),
    "surrogate": (row("a\ud800.jpg", 0, "a"), "bytes that are not UTF-8"),
    "control": (row("a.jpg", 1, "\x1b[2Jb"), "its class name has control characters"),
    "long path": (row("a" * 70_000, 0, "a"), "has 70,000 characters, of at most 1,024"),
    "long name": (row("a.jpg", 0, "a" * 70_000), "has 70,000 characters, of at most 1,000"),
    "two long names": (row("a.jpg", 0, "b" * 1000), "has two class names"),
    "huge label": (row("a.jpg", 10**12, "b"), "label 1, of no known name, has no training pictures (999,999,999,999 such"),
    "endless label": (row("a.jpg", 0, "b").replace("0, ", "9" * 5000 + ", ", 1), "is not valid JSON"),
    "NaN": (row("a.jpg", float("nan"), "b"), "its label is not an integer"),
    "infinite": (row("a.jpg", float("inf"), "b"), "its label is not an integer"),
    "true": (row("a.jpg", True, "b"), "its label is not an integer"),
    "key twice": ('{"train": [], "train": [["a", 0, "a"]], "val": [], "test": []}', "the key 'train' is given twice in one object"),
    "deep": ('{"train":' * 100_000, "is not valid JSON"),
    "UTF-16": (json.dumps(GOOD).encode("utf-16"), "is not UTF-8 text"),
    "many keys": (json.dumps({f"k{i}": 1 for i in range(100_000)}), "lacks the keys ['train', 'val', 'test']"),
}


@pytest.mark.parametrize("what", SPLITS)
def test_a_split_file_is_refused(what, tmp_path):
    content, said = SPLITS[what]
    assert said in refused(read_split, tmp_path / "split.json", content)


def test_a_byte_order_mark_is_no_content(tmp_path):
    (tmp_path / "split.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert read_split(tmp_path / "split.json").train == [Row("a/1.jpg", 0, "a")]
    (tmp_path / "classnames.txt").write_bytes(b"\xef\xbb\xbfn01440764 tench\n")
    assert read_class_names(tmp_path / "classnames.txt", "ImageNet") == {"n01440764": "tench"}


def test_memory_that_is_spent_is_told(tmp_path, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr(splits.json, "loads", exhausted)
    assert "is not valid JSON (MemoryError)" in refused(read_split, tmp_path / "split.json", "{}")


CLASS_NAMES = {
    "no name": ("n01440764\n", "entry 1: 'n01440764' is not \"wnid name\""),
    "twice": ("n1 a\nn1 b\n", "entry 2: 'n1 b' is not \"wnid name\" with a wnid of its own"),
    "control": ("n1 a\nn2 \x1b[2J\n", "entry 2: 'n2 \\x1b[2J': the class has control characters"),
    "NUL": ("n1\0 a\n", "the class has control characters"),
    "endless": ("n1 " + "a" * 1_000_000, "the class has 1,000,000 characters, of at most 1,000"),
    "latin-1": ("n1 é\n".encode("latin-1"), "is not UTF-8 text"),
}


@pytest.mark.parametrize("what", CLASS_NAMES)
def test_a_list_of_class_names_is_refused(what, tmp_path):
    content, said = CLASS_NAMES[what]
    assert said in refused(lambda path: read_class_names(path, "ImageNet"), tmp_path / "classnames.txt", content)


@pytest.mark.parametrize("picture", ("../../secret", "/etc/passwd", "..\\secret", "a\x1b[2J"))
def test_a_list_of_aircraft_cannot_leave_its_folder(picture, tmp_path, lay_out, read):
    lay_out(tmp_path, "FGVCAircraft")
    path = tmp_path / "fgvc_aircraft/images_variant_val.txt"
    path.write_text(f"{picture} ash\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"images_variant_val.txt: entry 1 does not fit, its path") as raised:
        read("FGVCAircraft", tmp_path)
    assert "\x1b" not in str(raised.value)
    assert FGVCAircraft.__name__ in str(raised.value)


def test_annotations_cannot_leave_their_folder():
    assert checked_rows([Row("a.jpg", 0, "a")], "x") == [Row("a.jpg", 0, "a")]
    for wrong in (Row("cars_train/../../a.jpg", 0, "a"), Row("a.jpg", -1, "a"), Row("a.jpg", 0, "")):
        with pytest.raises(ValueError, match="annos.mat: entry 1 does not fit, its"):
            checked_rows([wrong], "StanfordCars: annos.mat")


LISTS = {
    "NUL": ("path,class\na\0.jpg,emu\n", "line "),
    "huge field": (f"path,class\n{'a' * 200_000},emu\n", "is not valid CSV (field larger than field limit"),
    "many columns": ("path,class" + ",x" * 50_000 + "\na,b\n", "2 fields where the columns are 50002"),
    "long class": (f"path,class\na.jpg,{'a' * 100_000}\n", "1,000 at most"),
    "colours": ("path,class\na.jpg,\x1b[31mred\n", "the class '\\x1b[31mred' is not a string of printable characters"),
    "direction": ("path,class,split\na.jpg,emu,\u202etrain\n", "unknown split '\\u202etrain'"),
    "UTF-32": ("path,class\na,b\n".encode("utf-32"), "line 1: "),
}


@pytest.mark.parametrize("what", LISTS)
def test_a_list_is_refused(what, tmp_path):
    content, said = LISTS[what]
    assert said in refused(lambda path: read_list(path, "Folder"), tmp_path / "list.csv", content)


def test_a_file_of_other_names_is_refused(tmp_path):
    read = lambda path: read_renamed(path, ["emu", "wren"], "Folder")  # noqa: E731
    assert "the key 'emu' is given twice" in refused(read, tmp_path / "a.json", '{"emu": "a", "emu": "b"}')
    assert "names ['xxx" in refused(read, tmp_path / "b.json", json.dumps({"x" * 50_000: "a"}))
    assert "has to hold an object" in refused(read, tmp_path / "c.json", '{"emu": "a\\u001b[2J"}')


def test_links_that_lead_out_of_the_folder_are_told(tmp_path, write, capsys):
    """The benchmark datasets' folders are often made of links, so these are followed, as published readers follow them, and named."""
    write(tmp_path / "elsewhere/1.jpg")
    write(tmp_path / "images/a/1.jpg")
    os.symlink(tmp_path / "elsewhere", tmp_path / "images/b")
    os.symlink(tmp_path / "elsewhere/1.jpg", tmp_path / "images/a/2.jpg")
    os.symlink("1.jpg", tmp_path / "images/a/3.jpg")
    os.symlink(tmp_path / "images", tmp_path / "whole")  # the folder itself may be a link
    rows = [Row(path, 0, "a") for path in ("a/1.jpg", "a/2.jpg", "a/3.jpg", "b/1.jpg")]
    for folder in ("images", "whole"):
        check_present(Split(rows, [], [], "EuroSAT: split.json"), tmp_path / folder, "its page")
        assert "NOTE: EuroSAT: split.json: 2 of its pictures are reached by links that lead out of" in (out := capsys.readouterr().out)
        assert "a/2.jpg, b/1.jpg" in out
    check_present(Split([rows[0], rows[2]], [], [], "x"), tmp_path / "images", "its page")
    assert capsys.readouterr().out == ""
