"""The table of sources: what is refused in one, and that the project's own fits its readers and what others know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dassl.data.datasets import DATASET_REGISTRY
from preparation.sources import PROJECT_FILES, TABLE_PATH, load_table
from tests.preparation.archives import READERS
from tools import prepare

TABLE = {"a": {"folder": "a", "needs": ["x"], "files": [{"name": "x", "sources": [{"url": "http://x"}]}]}}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("a", "folder"), "../b", "a, folder: '../b' is no path inside"),
        (("a", "folder"), "/b", "a, folder: '/b' is no path inside"),
        (("a", "files", 0, "makes"), {"x": "../../y"}, "'../../y' is no path inside"),
        (("a", "files", 0, "name"), ".x", "'.x' is no path inside"),
        (("a", "colour"), 1, "a: unknown: colour"),
        (("a", "files", 0, "kind"), "rar", "kind is 'rar'; known: archive, split"),
        (("a", "files", 0, "bytes"), "many", "bytes is 'many', not a number"),
        (("a", "files", 0, "sources"), [{"drive": "1", "url": "http://x"}], "one of url, drive"),
        (("a", "files", 0, "sources"), [], "has no sources"),
        (("a",), [], "a is [], not a mapping"),
    ],
)
def test_a_table_with_a_mistake_is_refused(path: tuple, value: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    table = yaml.safe_load(yaml.safe_dump(TABLE))
    node = table
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(table))
    assert prepare.main(["a", "--sources", str(tmp_path / "table.yaml"), "--root", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_the_project_s_table_fits_the_readers() -> None:
    table = load_table()
    assert set(table) == set(READERS)
    for name, dataset in table.items():
        reader = DATASET_REGISTRY.get(READERS[name])
        assert dataset.folder == reader.dataset_dir and dataset.licence and dataset.page.startswith("https://")
        made = [place for file in dataset.files if not file.is_optional for place in file.makes.values()]
        assert set(dataset.needs) <= set(made), name
        if reader.image_dir and name != "imagenet":
            assert reader.image_dir in dataset.needs
        if reader.split_file:
            assert reader.split_file in dataset.needs
            drive = next(file for file in dataset.files if file.name == reader.split_file).sources[0]
            assert (drive.way, f"https://drive.google.com/file/d/{drive.address}/view") == ("drive", reader.split_source)


def test_what_torchvision_knows_is_what_the_table_has() -> None:
    from torchvision.datasets import DTD, SUN397, Flowers102, Food101, OxfordIIITPet
    from torchvision.datasets.imagenet import ARCHIVE_META

    files = {file.name: file for dataset in load_table().values() for file in dataset.files}
    pairs = dict(ARCHIVE_META.values()) | {url.rpartition("/")[2]: md5 for url, md5 in OxfordIIITPet._RESOURCES}
    pairs |= {"food-101.tar.gz": Food101._MD5, "dtd-r1.0.1.tar.gz": DTD._MD5, "102flowers.tgz": Flowers102._file_dict["image"][1]}
    pairs |= {"SUN397.tar.gz": SUN397._DATASET_MD5}
    assert len(pairs) == 9
    for name, md5 in pairs.items():
        assert {source.md5 for source in files[name].sources} == {md5}, name


def test_imagenet_s_class_names_are_clip_s() -> None:
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    lines = (PROJECT_FILES / "imagenet_classnames.txt").read_text(encoding="utf-8").splitlines()
    wnids, names = zip(*(line.split(" ", 1) for line in lines), strict=True)
    assert list(wnids) == sorted(set(wnids)) and list(names) == list(IMAGENET_CLASSNAMES)


def test_no_hash_is_a_guess() -> None:
    text = TABLE_PATH.read_text(encoding="utf-8")
    for line in text.splitlines():
        word, _, value = line.strip().removeprefix("- ").partition(": ")
        if word in ("md5", "sha256") and not line.startswith("#"):
            assert len(value) == {"md5": 32, "sha256": 64}[word] and set(value) <= set("0123456789abcdef")
