"""Pictures in other people's layouts: each is recognised, and the command that the doctor gives puts it right when it is run."""

import pytest

# What makes the layout out of the true one, in the data folder.
LAYOUTS = {
    "EuroSAT in capitals": ("eurosat", "mv eurosat EuroSAT"),
    "EuroSAT_RGB": ("eurosat", "mv eurosat/2750 eurosat/EuroSAT_RGB"),
    "EuroSAT/2750 inside": ("eurosat", "mkdir eurosat/EuroSAT; mv eurosat/2750 eurosat/EuroSAT"),
    "class folders one level too high": ("eurosat", "mv eurosat/2750/* eurosat; rmdir eurosat/2750"),
    "one level too deep": ("eurosat", "mkdir x; mv eurosat/2750 x; mv x eurosat/2750"),
    "two levels too deep": ("eurosat", "mkdir -p x/a; mv eurosat/2750 x/a; mv x eurosat/2750"),
    "EuroSAT beside": ("eurosat", "mv eurosat/2750 ."),
    "EuroSAT beside an empty folder": ("eurosat", "mv eurosat/2750 .; mkdir eurosat/2750"),
    "EuroSAT beside a wrong folder": ("eurosat", "mv eurosat/2750 .; mkdir -p eurosat/2750/other"),
    "Caltech101 of torchvision": ("caltech101", "mv caltech-101 caltech101"),
    "Caltech101 in its archive's folder": ("caltech101", "mkdir caltech-101/caltech-101; mv caltech-101/101* caltech-101/caltech-101"),
    "Caltech101 with its annotations, too high": (
        "caltech101",
        "mv caltech-101/101*/* caltech-101; rmdir caltech-101/101*; mkdir caltech-101/Annotations",
    ),
    "Pets of torchvision": ("oxford_pets", "mv oxford_pets oxford-iiit-pet"),
    "Pets without their folder": ("oxford_pets", "mv oxford_pets/images/* oxford_pets; rmdir oxford_pets/images"),
    "Pets of Kaggle": ("oxford_pets", "mkdir x; mv oxford_pets/images x; mv x oxford_pets/images"),
    "Flowers of torchvision": ("oxford_flowers", "mv oxford_flowers flowers-102"),
    "Flowers of Kaggle": (
        "oxford_flowers",
        "cd oxford_flowers; mkdir -p dataset/train/1 dataset/valid/1 dataset/test; mv jpg/*train* dataset/train/1; mv jpg/*val* dataset/valid/1;"
        "mv jpg/*test* dataset/test; rmdir jpg",
    ),
    "Food101 of torchvision": ("food101", "mkdir food-101/food-101; mv food-101/images food-101/food-101"),
    "Aircraft of torchvision": ("fgvc_aircraft", "mkdir fgvc-aircraft-2013b; mv fgvc_aircraft fgvc-aircraft-2013b/data"),
    "Aircraft's archive": (
        "fgvc_aircraft",
        "mkdir -p x/fgvc-aircraft-2013b; mv fgvc_aircraft/* x/fgvc-aircraft-2013b; mv x/* fgvc_aircraft",
    ),
    "DTD of torchvision": ("dtd", "mkdir dtd/dtd; mv dtd/images dtd/dtd"),
    "DTD with a capital": ("dtd", "mv dtd/images dtd/Images"),
    "SUN397 of torchvision": ("sun397", "mv sun397/SUN397 ."),
    "UCF101's frames beside": ("ucf101", "mv ucf101/UCF-101-midframes ."),
    "Cars of Kaggle": ("stanford_cars", "cd stanford_cars; for p in train test; do mkdir x; mv cars_$p x; mv x cars_$p; done"),
    "Cars of Kaggle, by class": (
        "stanford_cars",
        "cd stanford_cars; for p in train test; do mkdir -p car_data/car_data/$p/'Audi TT'; n=10000; for f in cars_$p/*; do n=$((n + 1));"
        'sed -i "s#$f#cars_$p/$n.jpg#" split*; mv "$f" "car_data/car_data/$p/Audi TT/$n.jpg"; done; rmdir cars_$p; done',
    ),
    "ImageNet of Kaggle": ("imagenet", "mkdir -p imagenet/ILSVRC/Data/CLS-LOC; mv imagenet/images/* imagenet/ILSVRC/Data/CLS-LOC"),
    "ImageNet of Kaggle beside": ("imagenet", "mkdir -p ILSVRC/Data/CLS-LOC; mv imagenet/images/* ILSVRC/Data/CLS-LOC"),
    "ImageNet one level too high": ("imagenet", "mv imagenet/images/* imagenet; rmdir imagenet/images"),
    "ImageNet one level too deep": ("imagenet", "mkdir x; mv imagenet/images x; mv x imagenet/images"),
    "ImageNet's validation pictures elsewhere": ("imagenet", "mv imagenet/images/val imagenet/validation"),
    "ImageNet, Kaggle's flat val": (
        "imagenet",
        "cd imagenet; echo ImageId,PredictionString > LOC_val_solution.csv; for f in images/val/*/*; do w=${f%/*}; n=${f##*/};"
        "n=ILSVRC2012_val_$((10000000 + $(wc -l < LOC_val_solution.csv))).JPEG;"
        'echo "${n%.JPEG},${w##*/} 1 2 3 4 " >> LOC_val_solution.csv; mv $f images/val/$n; done; rmdir images/val/*/',
    ),
    "ImageNet-Sketch unpacked beside": ("imagenet_sketch", "mv imagenet-sketch/images sketch"),
    "ImageNet-A one level too deep": ("imagenet_a", "mkdir x; mv imagenet-adversarial/imagenet-a x; mv x imagenet-adversarial/imagenet-a"),
    "ImageNet-R unpacked beside": ("imagenet_r", "mv imagenet-rendition/imagenet-r ."),
    "ImageNetV2 unpacked beside": ("imagenetv2", "mv imagenetv2/imagenetv2-matched-frequency-format-val ."),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_common_layout_is_recognised_and_its_command_puts_it_right(layout, root, lay_out, inspect, bash):
    name, rearrange = LAYOUTS[layout]
    lay_out(name)
    assert inspect(name).is_sound
    bash(rearrange)
    before = sorted(root.rglob("*"))
    report = inspect(name)
    assert report.is_found and not report.is_sound
    assert sorted(root.rglob("*")) == before  # the doctor itself moves nothing
    kinds = {finding.kind for finding in report.findings}
    assert kinds == ({"layout", "list missing"} if layout == "Aircraft's archive" else {"layout"})
    for finding in report.findings:
        assert finding.is_command and "\n" not in finding.cure
        bash(finding.cure)
    assert inspect(name).findings == []


TRUE_NAMES = {  # without a split file the pictures are known by their true names: dataset -> folder where they lie, one picture
    "caltech101": ("caltech101/101_ObjectCategories", "airplanes/image_0001.jpg"),
    "oxford_pets": ("oxford-iiit-pet/images", "Abyssinian_1.jpg"),
    "oxford_flowers": ("flowers-102/jpg", "image_00001.jpg"),
    "food101": ("food-101/food-101/images", "apple_pie/1005649.jpg"),
    "sun397": ("SUN397", "a/abbey/sun_aaalbzqrimafwbiv.jpg"),
    "dtd": ("dtd/dtd/images", "banded/banded_0002.jpg"),
    "eurosat": ("EuroSAT_RGB", "AnnualCrop/AnnualCrop_1.jpg"),
    "ucf101": ("UCF-101-midframes", "Apply_Eye_Makeup/v_ApplyEyeMakeup_g01_c01.jpg"),
    "stanford_cars": ("stanford_cars/cars_train/cars_train", "00001.jpg"),
    "fgvc_aircraft": ("fgvc-aircraft-2013b/data/images", "0034309.jpg"),
}


@pytest.mark.parametrize("name", TRUE_NAMES)
def test_without_a_split_file_pictures_are_known_by_their_true_names(name, root, inspect, bash, write):
    folder, picture = TRUE_NAMES[name]
    write(root / folder / picture)
    layout, *missing = inspect(name).findings
    assert (layout.kind, str(root / folder) in layout.what) == ("layout", True)
    assert missing and all(finding.kind == "list missing" for finding in missing)
    assert missing[0].cure == f"python tools/prepare.py {name} --root {quoted(root)}"
    bash(layout.cure)
    assert "layout" not in {finding.kind for finding in inspect(name).findings}


def quoted(path):
    return "'" + str(path).replace("'", "'\"'\"'") + "'"


OTHER_VERSIONS = {
    "ucf101": ("ucf101/UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi", "the videos of UCF101"),
    "eurosat": ("eurosat/EuroSATallBands/AnnualCrop/AnnualCrop_1.tif", "the multispectral EuroSAT"),
    "imagenetv2": ("imagenetv2/imagenetv2-top-images-format-val/0/a.jpeg", "another selection of ImageNetV2's pictures"),
}


@pytest.mark.parametrize("name", OTHER_VERSIONS)
def test_another_version_of_a_dataset_is_named_and_not_taken(name, root, inspect, write):
    path, what = OTHER_VERSIONS[name]
    write(root / path)
    finding = inspect(name).findings[0]
    assert what in finding.what and finding.cure == f"python tools/prepare.py {name} --root {quoted(root)}"


def test_a_flat_val_without_a_list_of_its_classes_asks_for_the_devkit(root, lay_out, inspect, bash):
    lay_out("imagenet")
    bash(
        "cd imagenet/images; mv val x; mkdir val; n=10000000; for f in x/*/*; do n=$((n + 1)); mv $f val/ILSVRC2012_val_$n.JPEG; done; rm -r x"
    )
    (finding,) = inspect("imagenet").findings
    assert "lie without class folders" in finding.what and not finding.is_command
    assert "ILSVRC2012_devkit_t12.tar.gz" in finding.cure and "--from ARCHIVES" in finding.cure


@pytest.mark.parametrize("place", ("", "eurosat/2750/", "EuroSAT/"))
def test_a_split_file_in_another_folder_is_found(place, root, lay_out, inspect, bash):
    lay_out("eurosat")
    bash(f"mkdir -p ./{place}; mv eurosat/split* ./{place}")
    (finding,) = inspect("eurosat").findings
    assert finding.kind == "list missing" and f"it lies in {(root / place)}" in finding.what
    bash(finding.cure)
    assert inspect("eurosat").is_sound


def test_a_data_folder_one_level_too_deep_or_too_high_is_noticed(root, lay_out, run_doctor):
    lay_out("eurosat")
    for wrong in (root / "eurosat", root.parent):
        status, out, _ = run_doctor("eurosat", root=wrong)
        assert status == 1 and f"the data folder is {root}, not {wrong}" in out
        assert f"cure: python tools/doctor.py eurosat --root {quoted(root)}" in out


@pytest.mark.parametrize(
    ("path", "kind", "cure_ends"),
    [
        ("eurosat/EuroSAT.zip", "packed", "/eurosat"),
        ("EuroSAT.zip.crdownload", "unfinished download", None),
    ],
)
def test_an_archive_that_lies_packed_or_half_fetched_is_named(path, kind, cure_ends, root, inspect, write):
    write(root / path, b"...")
    report = inspect("eurosat")
    finding = report.findings[0]
    assert (finding.kind, report.is_found) == (kind, True) and str(root / path) in finding.what
    if cure_ends is not None:
        assert finding.cure.endswith(f"--from {quoted(str(root) + cure_ends)}")


def test_an_archive_is_taken_for_its_own_dataset_alone(root, inspect, write):
    own = {
        "imagenet": "ILSVRC2012_img_train.tar",
        "imagenet_r": "imagenet-r.tar",
        "imagenet_a": "imagenet-a.tar",
        "imagenet_sketch": "ImageNet-Sketch.zip",
        "imagenetv2": "imagenetv2-matched-frequency.tar.gz",
        "sun397": "SUN397.tar.gz",
        "oxford_flowers": "102flowers.tgz",
        "dtd": "dtd-r1.0.1.tar.gz",
        "caltech101": "101_ObjectCategories.tar.gz",
    }
    for archive in own.values():
        write(root / archive, b"...")
    for name, archive in own.items():
        assert inspect(name).findings[0].what == f"{inspect(name).folder} does not exist; packed still: {root / archive}"
    assert [finding.kind for finding in inspect("food101").findings] == ["absent"]


@pytest.mark.parametrize("place", ("", "eurosat/"))
def test_an_archive_of_another_name_is_unpacked_by_the_command_and_its_layout_put_right(place, root, lay_out, inspect, bash):
    lay_out("eurosat")
    bash(f"mv eurosat/2750 EuroSAT_RGB; tar -czf ./{place}EuroSAT_RGB.tar.gz EuroSAT_RGB; rm -r EuroSAT_RGB")
    for kind in ("packed", "layout"):
        (finding,) = inspect("eurosat").findings
        assert finding.kind == kind
        bash(finding.cure)
    assert inspect("eurosat").is_sound


def test_folders_of_other_datasets_are_not_taken(root, lay_out, inspect):
    for name in ("imagenet", "imagenet_a", "imagenet_r", "imagenetv2", "imagenet_sketch"):
        lay_out(name)
    for name in ("imagenet", "imagenet_a", "imagenet_r", "imagenetv2", "imagenet_sketch"):
        assert inspect(name).findings == []
    (root / "imagenet-sketch").rename(root / "away")
    assert [finding.kind for finding in inspect("imagenet_sketch").findings] == ["absent"]
