"""Your own pictures (DATASET.NAME Folder): every layout of folders, every mistake that is told, one split for all runs."""

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from tests.datasets.bird_folder import BIRDS, counts, parts_of

REPO = Path(__file__).parents[2]


# Class folders


def test_class_folders_give_sorted_classes_and_every_class_something_to_test(birds, read_birds):
    dataset = read_birds()
    assert dataset.classnames == ["blue_jay", "emu", "robin", "wren"]
    train, val, test = counts(dataset)
    assert train == {"wren": 5, "blue_jay": 2, "robin": 1, "emu": 1}
    assert val == {"wren": 2, "blue_jay": 1, "robin": 1}
    assert test == {"wren": 3, "blue_jay": 1, "robin": 1, "emu": 1}
    assert sorted(path for names in parts_of(dataset).values() for path in names) == sorted(BIRDS)


def test_the_split_is_drawn_once_and_the_same_for_every_seed_and_shot(birds, read_birds, capsys):
    first = parts_of(read_birds(seed=1))
    said = capsys.readouterr().out
    assert f"kept as {birds}/split_own.json" in said and "seed 1" in said
    kept = (birds / "split_own.json").read_bytes()
    for seed, shots in ((2, -1), (3, 1), (0, 16)):
        again = parts_of(read_birds(seed=seed, shots=shots))
        assert again["test"] == first["test"]
        assert set(again["train"]) <= set(first["train"])
    assert "no split is stated" not in capsys.readouterr().out
    (birds / "split_own.json").unlink()
    assert parts_of(read_birds(seed=7)) == first  # the draw depends on the pictures alone
    assert (birds / "split_own.json").read_bytes() == kept
    assert str(birds) not in kept.decode()


def test_few_shots_and_halves_are_those_of_every_dataset(birds, read_birds):
    base, new = read_birds(shots=1, classes="base"), read_birds(shots=1, classes="new")
    assert (base.classnames, new.classnames) == (["blue_jay", "emu"], ["robin", "wren"])
    assert {d.label for d in new.train_x} == {0, 1}
    assert (len(base.train_x), len(new.train_x), len(base.test), len(new.test)) == (2, 2, 2, 4)
    assert read_birds(shots=1).classnames == base.classnames + new.classnames  # the samples' folder is no class


def test_pictures_that_come_or_go_after_the_draw_are_told(birds, read_birds, refused_birds, write, capsys):
    first = parts_of(read_birds())
    write(birds / "wren/new.jpg")
    capsys.readouterr()
    assert parts_of(read_birds()) == first
    assert "1 pictures came after the split was drawn" in capsys.readouterr().out
    (birds / "wren/3.jpg").unlink()
    message = refused_birds()
    for part in ("1 pictures of the split", "split_own.json", "wren/3.jpg", "put them back", "delete"):
        assert part in message


def test_no_split_is_kept_of_damaged_pictures(birds, read_birds, refused_birds, write):
    """Nor one that names a damaged picture that this run would not have used: taken away later, it would be missing in the split."""
    write(birds / "wren/7.jpg", b"cut")
    assert "1 of its pictures" in (message := refused_birds(shots=1, classes="base")) and "wren/7.jpg" in message
    assert not (birds / "split_own.json").exists()
    (birds / "wren/7.jpg").unlink()
    assert sum(map(len, parts_of(read_birds()).values())) == len(BIRDS) - 1


@pytest.mark.parametrize("half", ["base", "new"])
def test_one_class_is_refused_at_the_start_where_halves_are_asked_for(half, tmp_path, read_birds, refused_birds, write):
    for i in range(4):
        write(tmp_path / f"birds/wren/{i}.jpg")
    assert f"SUBSAMPLE_CLASSES is '{half}', but the dataset has 1 class. Base and new need two classes or more: add one" in refused_birds(
        classes=half
    )
    assert not (tmp_path / "birds/split_own.json").exists()  # in which a class that is added later would not be
    assert read_birds().classnames == ["wren"]


def test_a_class_of_one_picture_is_told_by_name(birds, refused_birds, write):
    write(birds / "kiwi/1.jpg")
    assert "1 classes have one picture only: 'kiwi'" in refused_birds()
    assert not (birds / "split_own.json").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="drops rights in a process of its own")
def test_a_folder_that_cannot_be_written_has_its_split_kept_elsewhere(tmp_path, birds, write):
    """Pictures that only another user may write; run as an ordinary user where the tests have all rights."""
    for folder in (birds, *birds.iterdir()):
        folder.chmod(0o555)
    (tmp_path / "kept").mkdir(mode=0o777)
    (tmp_path / "kept").chmod(0o777)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.getuid() and parent != Path(parent.root):
            parent.chmod(parent.stat().st_mode | 0o755)
    code = f"""
import os
import datasets
from dassl.config import get_cfg_default
from dassl.data.datasets import build_dataset
from PIL import Image
cfg = get_cfg_default()
datasets.extend_cfg(cfg)
cfg.merge_from_list(["DATASET.NAME", "Folder", "DATASET.ROOT", {str(tmp_path / "kept")!r}, "DATASET.FOLDER_PATH", {str(birds)!r}])
Image.init()  # imports its decoders while everything can be read
if os.getuid() == 0:
    os.setuid(65534)
for seed in (1, 2):
    cfg.merge_from_list(["SEED", seed])
    print([d.impath for d in build_dataset(cfg).test])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    birds.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert not (birds / "split_own.json").exists()
    (path,) = (tmp_path / "kept/own_splits").glob("birds-*/split_own.json")
    assert done.stdout.count(f"kept as {path}") == 1
    tests = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(tests) == 2 and tests[0] == tests[1]


def test_hidden_files_other_files_and_loose_pictures_are_left_out_and_told(birds, read_birds, write, capsys):
    for path in (".hidden.jpg", ".git/x.jpg", "wren/.DS_Store", "wren/._1.jpg", "__MACOSX/wren/._1.jpg"):
        write(birds / path)
    write(birds / "loose.jpg")
    write(birds / "README.md", "about")
    write(birds / "wren/notes.txt", "notes")
    write(birds / "wren/LICENSE", "terms")
    assert sum(map(len, parts_of(read_birds()).values())) == len(BIRDS)
    said = capsys.readouterr().out
    for part in ("in no class folder", "1 pictures ('loose.jpg')", "1 .txt, 1 without ending", "'wren/notes.txt'"):
        assert part in said
    assert "DS_Store" not in said and ".hidden" not in said


def test_nested_folders_and_endings_in_capitals_belong_to_their_class(birds, read_birds, write, make_picture):
    write(birds / "emu/2021/May/A.JPG")
    write(birds / "emu/b.Png", make_picture(fmt="PNG"))
    dataset = read_birds()
    assert {"emu/2021/May/A.JPG", "emu/b.Png"} <= {path for names in parts_of(dataset).values() for path in names}
    assert sum(c["emu"] for c in counts(dataset)) == 4


def test_unicode_names_and_both_spellings_of_an_accent(tmp_path, read_birds, write):
    for name in ("コウノトリ", unicodedata.normalize("NFD", "Grünspecht"), "white stork"):
        for i in range(2):
            write(tmp_path / "birds" / name / f"ö {i}.jpg")
    assert read_birds().classnames == ["Grünspecht", "white stork", "コウノトリ"]
    assert unicodedata.is_normalized("NFC", read_birds().classnames[0])


def test_classes_that_read_alike_in_prompts_are_refused(birds, refused_birds, write):
    write(birds / "blue jay/1.jpg")
    write(birds / "blue jay/2.jpg")
    assert "'blue jay' and 'blue_jay' both read 'blue jay' in prompts" in refused_birds()


def test_an_empty_class_folder_is_told(birds, refused_birds, write):
    (birds / "kiwi").mkdir()
    write(birds / "emperor/read.me", "x")
    message = refused_birds()
    assert "no pictures in 2 of its class folders: 'emperor', 'kiwi'" in message and ".jpg" in message


def test_a_folder_without_class_folders_is_told(tmp_path, refused_birds, write):
    (tmp_path / "birds").mkdir()
    assert "holds no folders, but nothing" in refused_birds()
    write(tmp_path / "birds/1.jpg")
    message = refused_birds()
    assert "1 pictures ('1.jpg')" in message and "one folder a class" in message and "DATASET.FOLDER_LIST" in message


@pytest.mark.parametrize(("path", "said"), [("", "is not given"), ("bird", "is 'bird', but"), ("birds/wren/1.jpg", "is no folder")])
def test_a_folder_that_is_not_there_is_told_with_those_that_are(path, said, tmp_path, birds, refused_birds):
    message = refused_birds(FOLDER_PATH=path)
    for part in (said, "'birds'", str(tmp_path), "DATASET.FOLDER_PATH", "docs/OWN_PICTURES.md"):
        assert part in message


def test_an_absolute_folder_needs_no_data_folder(tmp_path, birds, read_birds):
    assert read_birds(root=tmp_path / "nowhere", FOLDER_PATH=birds).num_classes == 4
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_picture_is_told(birds, refused_birds, write):
    write(birds / "emu/0.jpg", b"no picture")
    assert "emu/0.jpg" in refused_birds()


# Parts of a split as folders


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Train", "valid", "Test"), ("train", "validation", "test")])
def test_folders_of_parts_state_the_split(names, tmp_path, read_birds, write):
    for part, n in zip(names, (3, 1, 2), strict=True):
        for path in [f"{c}/{i}.jpg" for c in ("emu", "wren") for i in range(n)]:
            write(tmp_path / "birds" / part / path)
    dataset = read_birds()
    assert [dict(c) for c in counts(dataset)] == [{"emu": n, "wren": n} for n in (3, 1, 2)]
    assert all(path.startswith(names[2]) for path in parts_of(dataset)["test"])
    assert not (tmp_path / "birds/split_own.json").exists()


@pytest.mark.parametrize("held", ["val", "test"])
def test_two_parts_are_train_and_test(held, tmp_path, read_birds, write, capsys):
    for part in ("train", held):
        for c in ("emu", "wren"):
            write(tmp_path / "birds" / part / c / "1.jpg")
    assert [sum(c.values()) for c in counts(read_birds(shots=4))] == [2, 0, 2]
    said = capsys.readouterr().out
    assert ("the pictures of val are the test pictures" in said) == (held == "val") and "best_val cannot be used" in said


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("train/a",), "holds train and no other folder; a split needs train and test"),
        (("test/a", "val/a"), "holds test, val and no other folder"),
        (("train/a", "test/a", "more/a"), "beside 'more', which are not"),
        (("train/a", "val/a", "valid/a", "test/a"), "two folders for one part"),
        (("train/a", "test/a", "test/b"), "class 1 ('b') has no training pictures"),
        (("train/a", "train/b", "test"), "'test' holds no pictures"),
    ],
)
def test_parts_that_make_no_split_are_told(folders, said, tmp_path, refused_birds, write):
    for folder in folders:
        (tmp_path / "birds" / folder).mkdir(parents=True)
        if "/" in folder:
            write(tmp_path / "birds" / folder / "1.jpg")
    assert said in refused_birds()


def test_classes_may_be_called_test_or_val(tmp_path, read_birds, write):
    for path in [f"{c}/{i}.jpg" for c in ("test", "exam", "val") for i in range(2)]:
        write(tmp_path / "birds" / path)
    assert read_birds().classnames == ["exam", "test", "val"]


# Links and other files


def test_a_link_out_of_the_folder_is_followed_only_on_demand(tmp_path, birds, read_birds, refused_birds, write):
    for i in range(2):
        write(tmp_path / "elsewhere/kiwi" / f"{i}.jpg")
    (birds / "kiwi").symlink_to(tmp_path / "elsewhere/kiwi")
    message = refused_birds()
    for part in ("kiwi/0.jpg leads by a link out of the folder", str(tmp_path / "elsewhere/kiwi"), "DATASET.FOLDER_LINKS True"):
        assert part in message
    assert "kiwi" in read_birds(FOLDER_LINKS=True).classnames
    (birds / "kiwi").unlink()
    (birds / "split_own.json").unlink()
    (birds / "emu/9.jpg").symlink_to(tmp_path / "elsewhere/kiwi/0.jpg")
    assert "emu/9.jpg leads by a link out" in refused_birds()


def test_links_that_stay_inside_or_lead_nowhere_or_in_circles(birds, read_birds, refused_birds, capsys):
    (birds / "emu/same.jpg").symlink_to(birds / "wren/1.jpg")
    (birds / "emu/up").symlink_to(birds)
    assert sum(c["emu"] for c in counts(read_birds())) == 3
    assert "linked folders below a class: 'emu/up'" in capsys.readouterr().out
    (birds / "emu/gone.jpg").symlink_to(birds / "gone.jpg")
    assert "emu/gone.jpg is a link that leads nowhere" in refused_birds()


def test_a_pipe_is_refused_rather_than_waited_for(birds, refused_birds):
    os.mkfifo(birds / "emu/pipe.jpg")
    assert "pipe.jpg is not an ordinary file" in refused_birds()


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"two\nlines.jpg"])
def test_a_name_that_cannot_be_written_down_is_refused(name, birds, refused_birds, write):
    path = os.path.join(os.fsencode(birds / "emu"), name)
    try:
        with open(path, "wb") as file:
            file.write((birds / "emu/0.jpg").read_bytes())
    except OSError:
        pytest.skip("this file system does not take such a name")
    assert "rename it" in refused_birds().encode().decode()  # which also shows that the message can be printed


# Class names


def test_class_names_are_given_by_a_file_and_leave_the_split_alone(birds, read_birds, refused_birds, write):
    first = parts_of(read_birds())
    write(birds / "names.json", json.dumps({"blue_jay": "Cyanocitta cristata", "emu": " great emu "}))
    dataset = read_birds(FOLDER_CLASS_NAMES="names.json")
    assert dataset.classnames == ["Cyanocitta cristata", "great emu", "robin", "wren"]
    assert {part: set(names) for part, names in parts_of(dataset).items()} == {part: set(names) for part, names in first.items()}
    write(birds / "names.json", json.dumps({"blue_jay": "wren"}))
    assert "'blue_jay' and 'wren' both read 'wren'" in refused_birds(FOLDER_CLASS_NAMES=birds / "names.json")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"emus": "emu"}', "names ['emus'], which are no classes; the classes are ['blue_jay', 'emu', 'robin', 'wren']"),
        ('{"emu": 3}', "has to hold an object of classes and their names"),
        ('["emu"]', "has to hold an object of classes and their names"),
        ("{", "is not valid JSON"),
    ],
)
def test_wrong_class_names_are_told(content, said, birds, refused_birds, write):
    write(birds / "names.json", content)
    message = refused_birds(FOLDER_CLASS_NAMES="names.json")
    assert said in message and "names.json" in message
