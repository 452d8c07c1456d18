"""DATASET.MAKE_SPLIT: the split that each dataset makes where the published one is absent."""

import json
import random
from collections import Counter

import numpy as np
import pytest
from scipy.io import savemat

from tests.datasets.conftest import lay_out, put, put_images, read, refused, rows_of

# name -> image folder, class folder -> class name (None: no class), in order of label
FOLDERS = {
    "Caltech101": ("caltech-101/101_ObjectCategories", {
        "BACKGROUND_Google": None, "Faces": "face", "Faces_easy": None, "Leopards": "leopard",
        "Motorbikes": "motorbike", "airplanes": "airplane", "yin_yang": "yin_yang",
    }),
    "EuroSAT": ("eurosat/2750", {
        "AnnualCrop": "Annual Crop Land", "Forest": "Forest", "Highway": "Highway or Road",
        "HerbaceousVegetation": "Herbaceous Vegetation Land", "Industrial": "Industrial Buildings",
        "Pasture": "Pasture Land", "PermanentCrop": "Permanent Crop Land",
        "Residential": "Residential Buildings", "River": "River", "SeaLake": "Sea or Lake",
    }),
    "Food101": ("food-101/images", {"apple_pie": "apple_pie", "waffles": "waffles"}),
}  # fmt: skip


def lay_out_folders(root, name):
    folder, classes = FOLDERS[name]
    for c in classes:
        put_images(root / folder / c, [*(f"{i}.jpg" for i in range(10)), ".hidden.jpg", "Thumbs.db"])
    names = [classes[c] for c in sorted(classes) if classes[c]]
    return names, tuple(n * len(names) for n in (5, 2, 3))


def lay_out_pets(root):
    lists = {"trainval.txt": "#Image CLASS-ID SPECIES BREED ID\n", "test.txt": "#Image\n"}
    for label, breed in enumerate(("Abyssinian", "american_pit_bull_terrier"), 1):
        for i in range(12):
            put(root / f"oxford_pets/images/{breed}_{i}.jpg")
            lists["trainval.txt" if i < 8 else "test.txt"] += f"{breed}_{i} {label} 1 {label}\n"
    for name, text in lists.items():
        put(root / "oxford_pets/annotations" / name, text)
    return ["abyssinian", "american_pit_bull_terrier"], (12, 4, 8)


def lay_out_cars(root):
    folder = root / "stanford_cars"
    names = np.empty((1, 2), dtype=object)
    names[0] = ["AM General Hummer SUV 2000", "Audi TTS Coupe 2012"]
    (folder / "devkit").mkdir(parents=True)
    savemat(folder / "devkit/cars_meta.mat", {"class_names": names})
    files = ("devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat")
    for part, n, mat_file in zip(("cars_train", "cars_test"), (16, 6), files, strict=True):
        annotations = np.empty((1, n), dtype=[("bbox_x1", object), ("class", object), ("fname", object)])
        for i in range(n):
            annotations[0, i] = (1, i % 2 + 1, f"{i + 1:05d}.jpg")
            put(folder / part / f"{i + 1:05d}.jpg")
        savemat(folder / mat_file, {"annotations": annotations})
    return ["2000 AM General Hummer SUV", "2012 Audi TTS Coupe"], (12, 4, 6)


def lay_out_flowers(root):
    folder = root / "oxford_flowers"
    put(folder / "cat_to_name.json", json.dumps({"2": "hard-leaved pocket orchid", "1": "pink primrose"}))
    savemat(folder / "imagelabels.mat", {"labels": np.array([[2] * 10 + [1] * 10], dtype=np.uint8)})
    put_images(folder / "jpg", [f"image_{i:05d}.jpg" for i in range(1, 21)])
    return ["pink primrose", "hard-leaved pocket orchid"], (10, 4, 6)


def lay_out_sun(root):
    folder = root / "sun397"
    put(folder / "ClassName.txt", "/a/abbey\n/c/church/indoor\n")
    for name, n in (("Training_01.txt", 8), ("Testing_01.txt", 3)):
        scenes = ("/a/abbey", "/c/church/indoor")
        lines = [f"{scene}/sun_{name[:2]}{i}.jpg" for scene in scenes for i in range(n)]
        put(folder / name, "\n".join(lines))
        put_images(folder, [f"SUN397{line}" for line in lines])
    return ["abbey", "indoor church"], (12, 4, 6)


def lay_out_ucf(root):
    folder = root / "ucf101"
    put(folder / "ucfTrainTestlist/classInd.txt", "1 ApplyEyeMakeup\n2 YoYo\n")
    for name, n in (("trainlist01.txt", 8), ("testlist01.txt", 3)):
        lines = []
        for label, action, renamed in ((1, "ApplyEyeMakeup", "Apply_Eye_Makeup"), (2, "YoYo", "Yo_Yo")):
            for i in range(n):
                video = f"v_{action}_{name[:2]}_c{i:02d}"
                lines.append(f"{action}/{video}.avi" + (f" {label}" if name.startswith("train") else ""))
                put(folder / f"UCF-101-midframes/{renamed}/{video}.jpg")
        put(folder / "ucfTrainTestlist" / name, "\r\n".join(lines))
    return ["Apply_Eye_Makeup", "Yo_Yo"], (12, 4, 6)


LISTED = {"OxfordPets": lay_out_pets, "StanfordCars": lay_out_cars, "OxfordFlowers": lay_out_flowers}
LISTED |= {"SUN397": lay_out_sun, "UCF101": lay_out_ucf}
TEST_MARKS = {"StanfordCars": "cars_test/", "SUN397": "sun_Te", "UCF101": "_te_"}


@pytest.mark.parametrize("name", [*FOLDERS, *LISTED])
def test_a_made_split_has_the_published_names_is_kept_and_the_same_again(name, tmp_path, capsys):
    names, sizes = LISTED[name](tmp_path) if name in LISTED else lay_out_folders(tmp_path, name)
    state = random.getstate()
    first = read(name, tmp_path, make_split=True)
    assert random.getstate() == state and first.classnames == names
    rows = rows_of(first)
    assert tuple(map(len, rows)) == sizes
    assert len({row[0] for part in rows for row in part}) == sum(sizes)
    for part, size in zip(rows, sizes, strict=True):
        assert Counter(row[1] for row in part) == dict.fromkeys(range(len(names)), size // len(names))
    if name in TEST_MARKS:  # the paths show which list they come from
        assert [all(TEST_MARKS[name] in row[0] for row in part) for part in rows] == [False, False, True]
    if name == "OxfordFlowers":
        assert all(label == (int(path[-9:-4]) <= 10) for part in rows for path, label, _ in part)
    (path,) = tmp_path.glob(f"*/split_zhou_{name}.json")
    kept = json.loads(path.read_text())
    assert "MAKE_SPLIT" in kept["made_by"] and str(tmp_path) not in path.read_text()
    capsys.readouterr()
    assert rows_of(read(name, tmp_path, seed=2)) == rows  # the kept file serves from now on, and is told
    assert "not comparable with published" in capsys.readouterr().out
    path.unlink()
    read(name, tmp_path, make_split=True, seed=3)
    assert json.loads(path.read_text()) == kept
    assert [row[0] for row in kept["train"]] != sorted(row[0] for row in kept["train"])  # shuffled


def test_a_present_split_file_is_used(tmp_path, capsys):
    split = lay_out(tmp_path, "EuroSAT")
    assert rows_of(read("EuroSAT", tmp_path, make_split=True)) == tuple(split.values())
    assert "MAKE_SPLIT" not in capsys.readouterr().out


def test_a_wrong_or_missing_list_is_named(tmp_path):
    lay_out_pets(tmp_path)
    for line in ("Abyssinian_1 one 1 1", "../../x_1 1 1 1", "x_1 0 1 1"):
        put(tmp_path / "oxford_pets/annotations/test.txt", line)
        assert "test.txt" in refused("OxfordPets", tmp_path, make_split=True)
    (tmp_path / "oxford_pets/annotations/trainval.txt").unlink()
    assert "trainval.txt" in refused("OxfordPets", tmp_path, make_split=True)
