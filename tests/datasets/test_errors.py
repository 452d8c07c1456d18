"""What is wrong with a data folder is said before training: what, where, and the next step."""

import json

import pytest

from datasets import images as pictures, splits
from datasets.images import why_unreadable

MEANWHILE = "bash scripts/mpl/base2new.sh shapes 1"


def message_of(read, name, root, error, **settings):
    with pytest.raises(error) as raised:
        read(name, root, **settings)
    return str(raised.value)


@pytest.mark.parametrize("what", ("root", "folder", "image folder"))
def test_a_missing_folder_tells_the_whole_story(what, tmp_path, read):
    missing = {"root": tmp_path / "data", "folder": tmp_path / "data/eurosat", "image folder": tmp_path / "data/eurosat/2750"}[what]
    missing.parent.mkdir(parents=True, exist_ok=True)
    message = message_of(read, "EuroSAT", tmp_path / "data", FileNotFoundError)
    assert f"{missing} does not exist" in message
    for part in ("EuroSAT", "DATASET.ROOT", "--root", "split_zhou_EuroSAT.json", "github.com/phelber/EuroSAT", "DATASETS.md", MEANWHILE):
        assert part in message


def test_a_root_one_level_too_deep_is_noticed(tmp_path, lay_out, read):
    lay_out(tmp_path, "EuroSAT")
    assert f"is the folder above 'eurosat': here {str(tmp_path)!r}" in message_of(read, "EuroSAT", tmp_path / "eurosat", FileNotFoundError)


def test_a_missing_split_file_names_its_source_and_make_split(tmp_path, lay_out, read):
    lay_out(tmp_path, "EuroSAT")
    (tmp_path / "eurosat/split_zhou_EuroSAT.json").unlink()
    message = message_of(read, "EuroSAT", tmp_path, FileNotFoundError, shots=4)
    for part in ("eurosat/split_zhou_EuroSAT.json is missing", "drive.google.com", "DATASETS.md", "DATASET.MAKE_SPLIT True", MEANWHILE):
        assert part in message
    assert not list(tmp_path.glob("eurosat/*.json"))  # nothing was made quietly


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("FGVCAircraft", "fgvc_aircraft/variants.txt"),
        ("FGVCAircraft", "fgvc_aircraft/images_variant_val.txt"),
        ("ImageNet", "imagenet/classnames.txt"),
        ("ImageNetV2", "imagenetv2/classnames.txt"),
    ],
)
def test_a_missing_list_is_named_and_never_made(name, path, tmp_path, lay_out, read):
    lay_out(tmp_path, name)
    (tmp_path / path).unlink()
    message = message_of(read, name, tmp_path, FileNotFoundError, make_split=True)
    assert f"{path} is missing" in message and "MAKE_SPLIT" not in message


ROW = ["ash/x.jpg", 0, "ash"]
SPLIT_FILES = {
    "not JSON": ("{", "is not valid JSON"),
    "nested too deep": ("[" * 100_000, "is not valid JSON"),
    "not UTF-8": (b"\xff\xfe{}", "is not UTF-8"),
    "a list": ([], "holds a JSON list, expected an object"),
    "no val": ({"train": [], "test": []}, r"lacks the keys \['val'\]; it has \['test', 'train'\]"),
    "train no list": ({"train": {}, "val": [], "test": []}, "'train' holds a JSON dict"),
    "a short row": ({"train": [ROW, ["x.jpg", 0]], "val": [], "test": []}, "'train', row 1: it is not a list of three"),
    "a string row": ({"train": [], "val": ["abc"], "test": []}, "'val', row 0: it is not a list of three"),
    "path no string": ({"train": [[1, 0, "ash"]], "val": [], "test": []}, "its path is not a usable string"),
    "path with NUL": ({"train": [["a\0.jpg", 0, "ash"]], "val": [], "test": []}, "its path is not a usable string"),
    "absolute path": ({"train": [["/etc/x.jpg", 0, "ash"]], "val": [], "test": []}, "its path is absolute"),
    "Windows path": ({"train": [["C:\\x.jpg", 0, "ash"]], "val": [], "test": []}, "its path is absolute"),
    "path upwards": ({"train": [["a/../../x.jpg", 0, "ash"]], "val": [], "test": []}, 'leaves the image folder by ".."'),
    "label a string": ({"train": [["x.jpg", "0", "ash"]], "val": [], "test": []}, "its label is not an integer from 0"),
    "label a bool": ({"train": [["x.jpg", True, "ash"]], "val": [], "test": []}, "its label is not an integer from 0"),
    "label a float": ({"train": [["x.jpg", 0.0, "ash"]], "val": [], "test": []}, "its label is not an integer from 0"),
    "label negative": ({"train": [["x.jpg", -1, "ash"]], "val": [], "test": []}, "its label is not an integer from 0"),
    "name empty": ({"train": [["x.jpg", 0, " "]], "val": [], "test": []}, "its class name is not a string"),
    "name no string": ({"train": [["x.jpg", 0, None]], "val": [], "test": []}, "its class name is not a string"),
    "two names": ({"train": [ROW], "val": [], "test": [["y.jpg", 0, "elm"]]}, "label 0 has two class names, 'ash' and 'elm'"),
    "no train": ({"train": [], "val": [], "test": [ROW]}, "'train' holds no pictures"),
    "no test": ({"train": [ROW], "val": [], "test": []}, "'test' holds no pictures"),
    "label gap": ({"train": [ROW, ["y.jpg", 2, "elm"]], "val": [], "test": [ROW]}, "label 1, of no known name, has no training pictures"),
    "untrained class": ({"train": [ROW], "val": [], "test": [ROW, ["y.jpg", 1, "elm"]]}, r"class 1 \('elm'\) has no training pictures"),
}


@pytest.mark.parametrize("what", SPLIT_FILES)
def test_a_wrong_split_file_is_refused(what, tmp_path, lay_out, read, write):
    lay_out(tmp_path, "EuroSAT")
    content, expected = SPLIT_FILES[what]
    path = tmp_path / "eurosat/split_zhou_EuroSAT.json"
    write(path, content if isinstance(content, (str, bytes)) else json.dumps(content))
    with pytest.raises(ValueError, match=expected) as raised:
        read("EuroSAT", tmp_path)
    assert str(path) in str(raised.value) and len(str(raised.value)) < 1000


def test_a_split_file_of_absurd_size_is_not_read(tmp_path, lay_out, read):
    lay_out(tmp_path, "EuroSAT")
    path = tmp_path / "eurosat/split_zhou_EuroSAT.json"
    with open(path, "ab") as file:
        file.truncate(splits.MAX_FILE_BYTES + 1)  # sparse: takes no room
    assert "files of at most 134,217,728 bytes are read" in message_of(read, "EuroSAT", tmp_path, ValueError)


def test_missing_pictures_are_counted_and_named(tmp_path, lay_out, read):
    split = lay_out(tmp_path, "EuroSAT")
    images = tmp_path / "eurosat/2750"
    gone = [split["train"][0][0], split["test"][0][0], *(row[0] for row in split["train"] if row[1] == 1)]
    for path in dict.fromkeys(gone):
        (images / path).unlink(missing_ok=True)
    message = message_of(read, "EuroSAT", tmp_path, FileNotFoundError, shots=1)
    assert f"of which {len(set(gone))} are missing under {images}" in message and f"and {len(set(gone)) - 5} more" in message
    assert split["train"][0][0] in message and "cure:" in message and "phelber/EuroSAT" in message


def test_presence_is_checked_by_listing_folders_once(tmp_path, lay_out, read, monkeypatch):
    lay_out(tmp_path, "EuroSAT")
    listed = []
    listdir = pictures.os.listdir
    monkeypatch.setattr(pictures.os, "listdir", lambda path: listed.append(path) or listdir(path))
    read("EuroSAT", tmp_path)
    assert len(listed) == 5  # one a class folder


def test_a_missing_class_folder_counts_as_missing_pictures(tmp_path, lay_out, read):
    lay_out(tmp_path, "EuroSAT")
    (tmp_path / "eurosat/2750/elm").rename(tmp_path / "elsewhere")
    assert "of which 24 are missing" in message_of(read, "EuroSAT", tmp_path, FileNotFoundError)


def test_an_imagenet_class_without_pictures_is_named(tmp_path, lay_out, read):
    lay_out(tmp_path, "ImageNet")
    (tmp_path / "imagenet/images/train/n01484850").rename(tmp_path / "elsewhere")
    (tmp_path / "imagenet/images/train/n01484850").mkdir()
    assert "class 2 ('cedar wood') has no pictures in" in message_of(read, "ImageNet", tmp_path, ValueError)
    (tmp_path / "imagenet/images/train/n01484850").rmdir()
    assert "1 folders that are no known class, such as 'n01484850'" in message_of(read, "ImageNet", tmp_path, ValueError)


def test_an_imagenet_without_val_or_with_a_wrong_list_is_refused(tmp_path, lay_out, read, write):
    lay_out(tmp_path, "ImageNet")
    write(tmp_path / "imagenet/classnames.txt", "n01440764\n")
    assert "entry 1: 'n01440764' is not \"wnid name\"" in message_of(read, "ImageNet", tmp_path, ValueError)
    (tmp_path / "imagenet/images/val").rename(tmp_path / "elsewhere")
    write(tmp_path / "imagenet/classnames.txt", "n01440764 ash\n")
    assert "images/val is missing" in message_of(read, "ImageNet", tmp_path, FileNotFoundError)


def test_a_variants_gap_is_named(tmp_path, lay_out, read):
    lay_out(tmp_path, "ImageNetV2")
    (tmp_path / "imagenetv2/imagenetv2-matched-frequency-format-val/3").rename(tmp_path / "elsewhere")
    assert "label 3, of no known name, has no training pictures" in message_of(read, "ImageNetV2", tmp_path, ValueError)


def test_an_aircraft_variant_of_no_line_is_named(tmp_path, lay_out, read, write):
    lay_out(tmp_path, "FGVCAircraft")
    write(tmp_path / "fgvc_aircraft/images_variant_val.txt", "0000001 747-800\n")
    assert "images_variant_val.txt: entry 1 does not fit, '0000001 747-800'" in message_of(read, "FGVCAircraft", tmp_path, ValueError)


def test_an_unknown_half_is_refused_before_anything_is_looked_for(tmp_path, read):
    message = message_of(read, "EuroSAT", tmp_path / "nowhere", ValueError, classes="novel")
    assert "'novel'; it takes one of 'all', 'base', 'new'" in message


def damaged(make_picture):
    """Files that cannot be decoded to their end; the last few have a good header."""
    jpeg, progressive = make_picture((256, 256)), make_picture((256, 256), progressive=True)
    png, gif = make_picture((256, 256), "PNG"), make_picture((256, 256), "GIF")
    return {
        "empty": b"",
        "text": b"<html>404 Not Found</html>",
        "short header": jpeg[:10],
        "JPEG cut": jpeg[: len(jpeg) * 2 // 3],
        "JPEG cut at the end": jpeg[:-200],
        "progressive JPEG cut": progressive[: len(progressive) // 2],
        "PNG cut": png[: len(png) // 2],
        "GIF cut": gif[: len(gif) // 2],
    }


@pytest.mark.parametrize("part", ("train", "val", "test"))
def test_an_undecodable_picture_is_named_with_the_reason(part, tmp_path, lay_out, read, make_picture):
    split = lay_out(tmp_path, "EuroSAT")
    path = tmp_path / "eurosat/2750" / split[part][0][0]
    for what, content in damaged(make_picture).items():
        path.write_bytes(content)
        message = message_of(read, "EuroSAT", tmp_path, ValueError)
        assert f"1 of its pictures under {tmp_path / 'eurosat/2750'} cannot be decoded: {split[part][0][0]} (" in message, what


def test_pictures_are_decoded_once_and_again_when_their_file_changes(tmp_path, lay_out, read, make_picture, monkeypatch):
    split = lay_out(tmp_path, "EuroSAT")
    decoded = []
    monkeypatch.setattr(pictures, "why_unreadable", lambda path: decoded.append(path.name) or why_unreadable(path))
    read("EuroSAT", tmp_path)
    assert len(decoded) == sum(len(rows) for rows in split.values())
    decoded.clear()
    read("EuroSAT", tmp_path)
    assert decoded == []
    path = tmp_path / "eurosat/2750" / split["test"][0][0]
    path.write_bytes(damaged(make_picture)["JPEG cut"])
    assert split["test"][0][0] in message_of(read, "EuroSAT", tmp_path, ValueError)
    assert split["test"][0][0] in message_of(read, "EuroSAT", tmp_path, ValueError)  # a damaged picture is not remembered as sound
    assert decoded == [path.name] * 2


@pytest.mark.parametrize("content", (b"", b"[1]", b"{", b"[" * 100_000, b"\xff"))
def test_a_damaged_memory_of_decoded_pictures_is_made_anew(content, tmp_path, lay_out, read):
    lay_out(tmp_path, "EuroSAT")
    memory = tmp_path / "eurosat" / pictures.MEMORY_NAME
    memory.write_bytes(content)
    read("EuroSAT", tmp_path)
    assert len(json.loads(memory.read_text())) > 0


def test_only_the_pictures_that_a_run_uses_are_opened(tmp_path, lay_out, read, plain_draws, write):
    split = lay_out(tmp_path, "EuroSAT")
    used = {row[0] for row in plain_draws(split, 1, 1)[0]}
    idle = next(row[0] for row in split["train"] if row[0] not in used)
    write(tmp_path / "eurosat/2750" / idle, b"damaged")
    read("EuroSAT", tmp_path, shots=1)
    message_of(read, "EuroSAT", tmp_path, ValueError, shots=-1)


def test_large_lists_are_left_to_the_loader(tmp_path, lay_out, read, write, monkeypatch):
    split = lay_out(tmp_path, "EuroSAT")
    write(tmp_path / "eurosat/2750" / split["train"][0][0], b"damaged")
    message_of(read, "EuroSAT", tmp_path, ValueError)
    monkeypatch.setattr(pictures, "MAX_CHECKED", len(split["train"]) - 1)
    read("EuroSAT", tmp_path)


@pytest.mark.parametrize("fmt", ("JPEG", "PNG", "GIF", "BMP", "WEBP"))
@pytest.mark.parametrize("size", ((1, 1), (5, 300), (64, 64)))
def test_good_pictures_of_any_kind_and_size_pass(fmt, size, tmp_path, make_picture):
    path = tmp_path / "picture"
    path.write_bytes(make_picture(size, fmt))
    assert why_unreadable(path) == ""
