"""Every fault of a data folder is named with its cure; a sound folder has none."""

import json
import os
import shlex

import pytest

from datasets import images as pictures, shapes
from datasets.images import MEMORY_NAME
from diagnosis import inspect_dataset
from diagnosis.published import readers
from tests.doctor.conftest import MINIATURE_COUNTS

DATASETS = [name for name in readers() if name != "shapes"]


def only(report):
    assert len(report.findings) == 1, report.findings
    assert not report.is_sound or not report.findings[0].is_fault
    return report.findings[0]


def prepare(name, root, *more):
    return shlex.join(["python", "tools/prepare.py", name, "--root", str(root), *more])


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("decode", (False, True))
def test_a_sound_dataset_is_found_sound(name, decode, lay_out, inspect):
    split = lay_out(name)
    report = inspect(name, decode)
    assert (report.findings, report.is_found, report.is_sound) == ([], True, True)
    counts = MINIATURE_COUNTS[name]
    assert {"classes": report.n_classes, **report.counts} == counts
    n = len({row[0] for part in split.values() for row in part})
    assert (report.n_named, report.n_present, report.n_unreadable) == (n, n, 0 if decode else None)
    if "train" in counts:
        assert (report.base, report.new) == ((3, 5), (2, 5))
    else:
        assert (report.base, report.new) == (None, None)


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_that_is_not_there(name, root, inspect):
    report = inspect(name)
    finding = only(report)
    assert (report.is_found, finding.kind, finding.cure) == (False, "absent", prepare(name, root))
    assert finding.what == f"{report.folder} does not exist"


def test_an_empty_folder(root, inspect):
    (root / "eurosat").mkdir()
    images, split = inspect("eurosat").findings
    assert images.what == f"its image folder {root / 'eurosat/2750'} does not exist"
    assert split.what == f"{root / 'eurosat/split_zhou_EuroSAT.json'} is missing"
    assert {images.cure, split.cure} == {prepare("eurosat", root)}


@pytest.mark.parametrize("name", ("eurosat", "fgvc_aircraft", "imagenet", "imagenet_r"))
def test_a_missing_list(name, root, lay_out, inspect):
    lay_out(name)
    path = readers()[name].at(root).list_paths()[-1]
    path.unlink()
    finding = only(inspect(name))
    assert (finding.kind, finding.what, finding.cure) == ("list missing", f"{path} is missing", prepare(name, root))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "is not valid JSON"),
        ("<html>Google Drive - Virus scan warning</html>", "is not valid JSON"),
        (json.dumps({"train": [], "val": [], "test": []}), "'train' holds no pictures"),
        (json.dumps({"train": [["../x.jpg", 0, "ash"]], "val": [], "test": []}), 'leaves the image folder by ".."'),
    ],
)
def test_an_unreadable_split_file(content, what, root, lay_out, inspect):
    lay_out("eurosat")
    path = root / "eurosat/split_zhou_EuroSAT.json"
    path.write_text(content)
    finding = only(inspect("eurosat"))
    assert finding.kind == "list unreadable" and what in finding.what and "\n" not in finding.what
    assert finding.cure == f"{shlex.join(['mv', str(path), str(path) + '.old'])} && {prepare('eurosat', root)}"


def test_other_counts_than_the_published_ones(root, lay_out, inspect):
    split = lay_out("eurosat")
    path = root / "eurosat/split_zhou_EuroSAT.json"
    path.write_text(json.dumps({**split, "val": split["val"][:-1]}))
    finding = only(inspect("eurosat"))
    assert finding.kind == "counts" and "other counts than the published ones: val 17 (published: 18);" in finding.what


def test_a_class_that_is_missing_from_a_listed_dataset(root, lay_out, inspect, bash):
    lay_out("imagenet_sketch")
    bash("rm -r imagenet-sketch/images/n01494475")
    finding = only(inspect("imagenet_sketch"))
    assert "classes 4 (published: 5), test 8 (published: 10)" in finding.what
    assert finding.cure == prepare("imagenet_sketch", root, "--force")


def test_an_empty_class_folder_of_a_listed_dataset_is_named(root, lay_out, inspect, bash):
    lay_out("imagenet")
    bash("rm imagenet/images/train/n01484850/*")
    assert "class 2 ('cedar wood') has no pictures" in only(inspect("imagenet")).what


def test_a_split_of_ones_own_is_noted_and_is_no_fault(root, lay_out, inspect):
    split = lay_out("eurosat")
    path = root / "eurosat/split_zhou_EuroSAT.json"
    path.write_text(json.dumps({**split, "val": split["val"][:-1], "made_by": "DATASET.MAKE_SPLIT"}))
    report = inspect("eurosat")
    assert only(report).kind == "own split" and "not comparable" in only(report).what and report.is_sound


def test_missing_pictures_are_counted(root, lay_out, inspect):
    split = lay_out("eurosat")
    gone = [split["train"][0][0], split["test"][0][0]]
    for path in gone:
        (root / "eurosat/2750" / path).unlink()
    report = inspect("eurosat")
    finding = only(report)
    assert (report.n_named, report.n_present) == (82, 80)
    assert f"2 of the 82 pictures that its split names are missing under {root / 'eurosat/2750'}" in finding.what
    assert gone[0] in finding.what and finding.cure == prepare("eurosat", root, "--force")


def test_a_half_extracted_folder_is_named_with_the_archive_beside_it(root, lay_out, inspect, bash, write):
    lay_out("eurosat")
    bash("rm -r eurosat/2750/elm eurosat/2750/ash")
    write(root / "eurosat/EuroSAT.zip", b"...")
    write(root / "eurosat/EuroSAT.zip.part", b"...")
    missing, packed, unfinished = inspect("eurosat").findings
    assert "half-extracted: nothing of 2 of its 5 folders is there (ash, elm)" in missing.what.replace("elm, ash", "ash, elm")
    assert "may be in" in packed.what and packed.cure == prepare("eurosat", root, "--from", str(root / "eurosat"), "--force")
    assert "EuroSAT.zip.part" in unfinished.what


def test_links_that_lead_nowhere_count_as_missing(root, lay_out, inspect):
    split = lay_out("eurosat")
    path = root / "eurosat/2750" / split["train"][0][0]
    path.unlink()
    path.symlink_to(root / "gone.jpg")
    report = inspect("eurosat")
    assert "links that lead nowhere" in only(report).what and (report.n_named, report.n_present) == (82, 81)


@pytest.mark.parametrize(
    ("change", "case"),
    [
        ("cd eurosat/2750; mv ash Ash; mv Douglas_fir douglas_fir", "Ash for ash"),
        ('cd eurosat/2750/elm; for f in *; do mv "$f" "${f%.jpg}.JPG"; done', ".JPG for .jpg"),
        ('cd eurosat/2750; mv elm ELM; cd ELM; for f in *; do mv "$f" "${f%.jpg}.JPG"; done', "ELM for elm"),
    ],
)
def test_names_in_another_case_are_recognised_and_renamed_by_the_command(change, case, lay_out, inspect, bash):
    lay_out("eurosat")
    bash(change)
    finding = only(inspect("eurosat"))
    assert "they are there with capital and small letters otherwise" in finding.what and case in finding.what
    bash(finding.cure)
    assert inspect("eurosat").findings == []


@pytest.mark.parametrize("name", ("eurosat", "imagenet", "imagenet_a"))
def test_empty_files_are_named(name, root, lay_out, inspect):
    split = lay_out(name)
    picture = split["test"][0][0]
    (readers()[name].at(root).image_folder / picture).write_bytes(b"")
    finding = only(inspect(name))
    assert finding.what == f"1 of its pictures are empty files: {picture}"
    assert finding.cure == prepare(name, root, "--force")
    report = inspect(name, decode=True)
    assert only(report).kind == "empty pictures" and report.n_unreadable == 1


def test_damaged_pictures_are_found_by_decoding_alone(root, lay_out, inspect):
    split = lay_out("eurosat")
    path = root / "eurosat/2750" / split["val"][0][0]
    path.write_bytes(path.read_bytes()[:300])
    assert inspect("eurosat").findings == []
    report = inspect("eurosat", decode=True)
    finding = only(report)
    assert finding.what.startswith(f"1 of its pictures cannot be decoded: {split['val'][0][0]} (") and report.n_unreadable == 1
    remembered = json.loads((root / "eurosat" / MEMORY_NAME).read_text())
    assert len(remembered) == 81 and split["val"][0][0] not in remembered


def test_decoding_opens_every_picture_whatever_is_remembered(root, lay_out, inspect):
    split = lay_out("eurosat")
    path = root / "eurosat/2750" / split["val"][0][0]
    assert inspect("eurosat", decode=True).is_sound
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:300] + bytes(len(content) - 300))  # of the same size and time, as when a disk goes bad
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert only(inspect("eurosat", decode=True)).kind == "unreadable pictures"


def test_what_was_decoded_spares_training_the_work(root, lay_out, inspect, monkeypatch):
    from tests.datasets.conftest import CfgNode, datasets

    lay_out("eurosat")
    inspect("eurosat", decode=True)
    cfg = CfgNode({"SEED": 1, "DATASET": {"ROOT": str(root), "NUM_SHOTS": -1}})
    datasets.extend_cfg(cfg)
    monkeypatch.setattr(pictures, "why_unreadable", lambda path: pytest.fail(f"{path} was decoded again"))
    readers()["eurosat"](cfg)


def test_nothing_is_written_unless_pictures_are_decoded(root, lay_out, inspect):
    lay_out("eurosat")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    inspect("eurosat")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_shapes_is_cured_by_drawing_it(root, inspect, write):
    finding = only(inspect("shapes"))
    assert finding.cure == f"DATA={shlex.quote(str(root))} bash scripts/zsclip/base2new.sh shapes"
    rows = shapes.split_rows()
    write(root / "shapes/split_shapes.json", json.dumps(rows))
    for path in [path for part in rows.values() for path, _, _ in part]:
        write(root / "shapes/images" / path, b"...")
    report = inspect_dataset("Shapes", root)
    assert report.is_sound and report.counts == {"train": 768, "val": 192, "test": 1440}
    assert (report.base, report.new) == ((12, 720), (12, 720))
    damaged = root / "shapes/images/red_heart/train_00.png"
    damaged.write_bytes(b"")
    cure = only(inspect_dataset("shapes", root)).cure
    assert cure.startswith(shlex.join(["rm", str(damaged)])) and cure.endswith("base2new.sh shapes")


def test_a_folder_that_cannot_be_looked_at(root, lay_out, inspect, bash, monkeypatch):
    lay_out("eurosat")
    bash("cd eurosat/2750; rm -r elm; ln -s elm elm")
    finding = only(inspect("eurosat"))
    assert (
        finding.kind == "no access"
        and f"{root / 'eurosat/2750/elm'} cannot be looked at: Too many levels of symbolic links" in finding.what
    )

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(pictures.os, "listdir", refuse)  # as another person's folder does; root may look everywhere
    finding = only(inspect("eurosat"))
    assert "Permission denied" in finding.what and finding.cure == shlex.join(["chmod", "-R", "u+rX", str(root / "eurosat")])
