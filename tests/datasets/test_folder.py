"""Own images (DATASET.NAME Folder): class folders, train/val/test folders, lists, one split for all runs."""

import codecs
import json
import unicodedata

import pytest

from datasets import folder, splits
from tests.datasets.conftest import BIRDS, IMAGE, counts, put, put_images, read, refused, rows_of


def read_birds(root, **settings):
    return read("Folder", root, **{"FOLDER_PATH": "birds", **settings})


def refused_birds(root, **settings):
    return refused("Folder", root, **{"FOLDER_PATH": "birds", **settings})


def paths_of(dataset):
    return sorted(row[0] for part in rows_of(dataset) for row in part)


# Class folders


def test_a_split_of_class_folders_is_drawn_once_and_kept(tmp_path, birds, capsys):
    first = read_birds(tmp_path)
    assert first.classnames == ["blue_jay", "emu", "robin", "wren"] and paths_of(first) == sorted(BIRDS)
    train, val, test = counts(first)
    assert train == {"wren": 5, "blue_jay": 2, "robin": 1, "emu": 1}
    assert val == {"wren": 2, "blue_jay": 1, "robin": 1}
    assert test == {"wren": 3, "blue_jay": 1, "robin": 1, "emu": 1}
    assert f"kept as {birds}/split_own.json" in capsys.readouterr().out
    kept = (birds / "split_own.json").read_text()
    assert first.title == "Folder birds" and str(birds) not in kept
    assert first.identity["pictures"] == str(birds) and first.identity["split"] == f"{birds}/split_own.json"
    for seed, shots in ((2, -1), (3, 1), (0, 16)):
        again = read_birds(tmp_path, seed=seed, shots=shots)
        assert rows_of(again)[2] == rows_of(first)[2] and again.identity == first.identity
        assert {row[0] for row in rows_of(again)[0]} <= {row[0] for row in rows_of(first)[0]}
    assert "no split is stated" not in capsys.readouterr().out
    (birds / "split_own.json").unlink()
    assert rows_of(read_birds(tmp_path, seed=7)) == rows_of(first)  # the draw depends on the images alone
    assert (birds / "split_own.json").read_text() == kept


def test_images_that_come_or_go_after_the_draw_are_told(tmp_path, birds, capsys):
    first = rows_of(read_birds(tmp_path))
    put(birds / "wren/new.jpg")
    capsys.readouterr()
    assert rows_of(read_birds(tmp_path)) == first and "1 images came after" in capsys.readouterr().out
    (birds / "wren/3.jpg").unlink()
    assert "wren/3.jpg" in (message := refused_birds(tmp_path)) and "split_own.json" in message


def test_no_split_is_kept_of_damaged_images_or_single_ones(tmp_path, birds):
    put(birds / "wren/7.jpg", IMAGE[:200])
    assert "wren/7.jpg" in refused_birds(tmp_path, shots=1, classes="base")
    put(birds / "wren/7.jpg")
    put(birds / "kiwi/1.jpg")
    assert "'kiwi'" in refused_birds(tmp_path) and not (birds / "split_own.json").exists()
    put_images(tmp_path / "photos/birds", ["emu/1.jpg", "wren/1.jpg"])  # one folder deeper
    assert "'birds'" in refused_birds(tmp_path, FOLDER_PATH="photos")
    assert not (tmp_path / "photos/split_own.json").exists()


def test_the_split_of_a_folder_that_cannot_be_written_is_kept_below_the_root(tmp_path, birds, monkeypatch):
    def write(split, made_by, path):
        if birds in path.parents:
            raise PermissionError(13, "Permission denied", path)
        splits.write_split(split, made_by, path)

    monkeypatch.setattr(folder, "write_split", write)
    first = read("Folder", tmp_path / "data", FOLDER_PATH=birds)
    (path,) = (tmp_path / "data/own_splits").glob("birds-*/split_own.json")
    assert first.identity["split"] == str(path)
    assert rows_of(read("Folder", tmp_path / "data", FOLDER_PATH=birds, seed=2)) == rows_of(first)


def test_what_is_left_out_is_told(tmp_path, birds, capsys):
    unseen = (".hidden.jpg", ".git/x.jpg", "wren/.DS_Store", "wren/._1.jpg", "__MACOSX/wren/1.jpg")
    put_images(birds, [*unseen, "split_fewshot/a", "loose.jpg", "wren/notes.txt", "README.md"])
    (birds / "emu/up").symlink_to(birds)
    assert paths_of(read_birds(tmp_path)) == sorted(BIRDS)
    told = capsys.readouterr().out
    assert all(name in told for name in ("3 files are left out", "loose.jpg", "wren/notes.txt", "emu/up"))


def test_names_of_any_kind_and_links(tmp_path, birds):
    folders = ("コウノトリ", unicodedata.normalize("NFD", "Grünspecht"))
    put_images(birds, ["emu/2021/May/A.JPG", "emu/b.Png"])
    put_images(birds, [f"{c}/ö {i}.jpg" for c in folders for i in range(2)])
    put_images(tmp_path / "elsewhere", ["0.jpg", "1.jpg"])
    (birds / "kiwi").symlink_to(tmp_path / "elsewhere")
    (birds / "emu/same.jpg").symlink_to(birds / "wren/1.jpg")
    dataset = read_birds(tmp_path)
    found = {"emu/2021/May/A.JPG", "emu/b.Png", "emu/same.jpg", "kiwi/0.jpg", "kiwi/1.jpg"}
    assert found <= set(paths_of(dataset))
    assert dataset.classnames[0] == "Grünspecht" and dataset.classnames[-1] == "コウノトリ"


@pytest.mark.parametrize("name", ["blue jay", "Blue_Jay", "blue  jay", "BLUE JAY"])
def test_classes_of_the_same_tokens_are_refused(name, tmp_path, birds):
    put_images(birds / name, ["0.jpg", "1.jpg"])
    message = refused_birds(tmp_path)
    assert "'blue_jay'" in message and name in message and "FOLDER_CLASS_NAMES" in message
    assert not (birds / "split_own.json").exists()
    put(birds / "names.json", json.dumps({name: "another jay"}))
    assert read_birds(tmp_path, FOLDER_CLASS_NAMES="names.json").num_classes == 5


@pytest.mark.parametrize("name", ["0", "001.Black_footed_Albatross"])
def test_numbers_as_class_names_draw_advice(name, tmp_path, birds, capsys):
    (birds / "emu").rename(birds / name)
    read_birds(tmp_path)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "FOLDER_CLASS_NAMES" in line]
    assert f"{name!r}" in line


def test_folders_that_are_not_there_or_empty_are_told(tmp_path, birds):
    for path in ("", "bird"):
        assert "'birds'" in refused_birds(tmp_path, FOLDER_PATH=path)
    assert f"{birds}/none.csv" in refused_birds(tmp_path, FOLDER_LIST="none.csv")
    (birds / "kiwi").mkdir()
    assert "kiwi holds no images" in refused_birds(tmp_path)
    put(tmp_path / "loose/1.jpg")
    assert "class folders" in refused_birds(tmp_path, FOLDER_PATH="loose")


# Train, val and test folders


@pytest.mark.parametrize(("names", "sizes"), [
    (("train", "val", "test"), (3, 1, 2)),
    (("Train", "validation", "Test"), (3, 1, 2)),
    (("train", "", "test"), (3, 0, 2)),
    (("train", "valid", ""), (3, 0, 1)),
])  # fmt: skip
def test_folders_of_parts_state_the_split(names, sizes, tmp_path, capsys):
    for name, n in zip(names, (3, 1, 2), strict=True):
        images = [f"{c}/{i}.jpg" for c in ("emu", "wren") for i in range(n if name else 0)]
        put_images(tmp_path / "birds" / name, images)
    assert counts(read_birds(tmp_path, shots=4)) == tuple({"emu": n, "wren": n} if n else {} for n in sizes)
    assert not (tmp_path / "birds/split_own.json").exists()
    assert ("best_val cannot be used" in capsys.readouterr().out) == (sizes[1] == 0)


@pytest.mark.parametrize("folders", [
    ("train/a",),
    ("test/a", "val/a"),
    ("train/a", "test/a", "more/a"),
    ("train/a", "val/a", "valid/a", "test/a"),
    ("train/a", "test/a", "test/b"),
])  # fmt: skip
def test_parts_that_make_no_split_are_told(folders, tmp_path):
    put_images(tmp_path / "birds", [f"{path}/1.jpg" for path in folders])
    refused_birds(tmp_path)


def test_classes_may_be_called_test_or_val(tmp_path):
    put_images(tmp_path / "birds", [f"{c}/{i}.jpg" for c in ("test", "exam", "val") for i in range(2)])
    assert read_birds(tmp_path).classnames == ["exam", "test", "val"]


def test_class_names_are_given_by_a_file_and_leave_the_split_alone(tmp_path, birds):
    first = paths_of(read_birds(tmp_path))
    put(birds / "names.json", json.dumps({"blue_jay": "Cyanocitta cristata", "emu": " great emu "}))
    dataset = read_birds(tmp_path, FOLDER_CLASS_NAMES="names.json")
    assert dataset.classnames == ["Cyanocitta cristata", "great emu", "robin", "wren"]
    assert paths_of(dataset) == first
    for wrong in ('{"blue_jay": "wren"}', '{"emus": "emu"}', '["emu"]', "{"):
        put(birds / "names.json", wrong)
        refused_birds(tmp_path, FOLDER_CLASS_NAMES=birds / "names.json")
    assert f"{birds}/name.json" in refused_birds(tmp_path, FOLDER_CLASS_NAMES="name.json")


# Lists

STATED = {"train": ["emu/0.jpg", "wren/0.jpg", "wren/1.jpg"], "val": ["wren/2.jpg"]}
STATED["test"] = ["emu/1.jpg", "wren/3.jpg"]
ROWS = [(path, path.split("/")[0], part) for part, paths in STATED.items() for path in paths]
LABELS = {"wren": 0, "emu": 1}
SPLIT = {part: [[path, LABELS[name], name] for path, name, of in ROWS if of == part] for part in STATED}


def as_csv(rows=ROWS, header="path,class,split", delimiter=","):
    return "\n".join([header, *(delimiter.join(row) for row in rows)]) + "\n"


LISTS = {
    "plain.csv": as_csv(),
    "bom.csv": codecs.BOM_UTF8 + as_csv().encode(),
    "utf16.csv": as_csv().encode("utf-16"),
    "blank lines.csv": "\n\n" + as_csv().replace("\n", "\n\n,,\n"),
    "semicolon.csv": as_csv(header="path;class;split", delimiter=";"),
    "tab.tsv": as_csv(header="path\tclass\tsplit", delimiter="\t"),
    "capitals.CSV": as_csv([(*row[:2], row[2].upper()) for row in ROWS], header=" Path , CLASS,Split"),
    "other order.csv": as_csv([("x", *row[::-1]) for row in ROWS], header="id,split,class,path"),
    "dots.csv": as_csv([(f"./{path.replace('/', '//')}", name, part) for path, name, part in ROWS]),
    "windows.csv": as_csv([(path.replace("/", "\\"), name, part) for path, name, part in ROWS]),
    "twice.csv": as_csv([*ROWS, ROWS[0], (f"./{ROWS[1][0]}", *ROWS[1][1:])]),
    "objects.json": json.dumps([dict(zip(("Path", "class", "split"), row, strict=True)) for row in ROWS]),
    "split.json": codecs.BOM_UTF8 + json.dumps(SPLIT).encode(),
}


@pytest.mark.parametrize("name", LISTS)
def test_every_form_of_a_list_says_the_same(name, tmp_path, birds):
    put(birds / name, LISTS[name])
    dataset = read_birds(tmp_path, FOLDER_LIST=name)
    assert [sorted(row[0] for row in part) for part in rows_of(dataset)] == list(STATED.values())
    assert dataset.classnames == (["wren", "emu"] if name == "split.json" else ["emu", "wren"])
    assert not list(birds.glob("split_own*"))


def test_a_list_without_split_has_one_drawn_and_kept_under_its_own_name(tmp_path, birds):
    put(tmp_path / "elsewhere/all.csv", as_csv([(path, path[0]) for path in BIRDS], header="path,class"))
    put(birds / "few.csv", as_csv([row[:2] for row in ROWS], header="path,class"))
    every = read_birds(tmp_path, FOLDER_LIST=tmp_path / "elsewhere/all.csv")
    few = read_birds(tmp_path, FOLDER_LIST="few.csv")
    assert (every.classnames, few.classnames) == (["b", "e", "r", "w"], ["emu", "wren"])
    kept = sorted(path.name for path in birds.glob("split_own*"))
    assert kept == ["split_own-all.csv.json", "split_own-few.csv.json"]
    assert rows_of(read_birds(tmp_path, FOLDER_LIST="few.csv", seed=9)) == rows_of(few)
    assert every.identity["split_sha256"] != few.identity["split_sha256"]


GOOD = "path,class,split\nemu/0.jpg,emu,train\nemu/1.jpg,emu,test\nwren/1.jpg,wren,train\n"


WRONG_LISTS = {  # content of a CSV file, or of a JSON file if the key says so
    "one class": "path,class,split\nemu/0.jpg,emu,train\nemu/1.jpg,emu,test\n",
    "no column": "path,label,split\nemu/0.jpg,emu,train\n",
    "unknown split": GOOD + "emu/1.jpg,emu,dev\n",
    "half a split": GOOD + "wren/2.jpg,wren,\n",
    "two classes": GOOD + "emu/0.jpg,wren,train\n",
    "upwards": GOOD + "emu\\..\\..\\a.jpg,emu,train\n",
    "a comma too many": GOOD + "emu/1.jpg,emu, the great,train\n",
    "latin-1": "path,class\nemu/0.jpg,émeu\n".encode("latin-1"),
    "empty": "",
    "missing image": GOOD + "emu/77.jpg,emu,test\n",
    "JSON, cut": "[",
    "JSON, no class": '[{"path": "a", "label": 3}]',
    "JSON, two labels of a class": json.dumps({**SPLIT, "train": [*SPLIT["train"], ["emu/0.jpg", 2, "emu"]]}),
}


@pytest.mark.parametrize("what", WRONG_LISTS)
def test_a_wrong_list_is_refused(what, tmp_path, birds):
    name = "a.json" if "JSON" in what else "a.csv"
    put(birds / name, WRONG_LISTS[what])
    assert str(birds) in refused_birds(tmp_path, FOLDER_LIST=name)
