"""The table of datasets against the readers, the docs and what torchvision knows."""

from pathlib import Path

import pytest

from dassl.data.datasets import DATASET_REGISTRY
from experiments.facts import dataset_name
from prepare.sources import REPO, TABLE_PATH, load_table

TABLE = load_table()
PAGE = (REPO / "docs/DATASETS.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TABLE)
def test_a_dataset_fits_its_reader_and_the_docs(name: str) -> None:
    dataset = TABLE[name]
    reader = DATASET_REGISTRY.get(dataset_name(name)).at("/data")
    assert f"/data/{dataset.folder}" == str(reader.folder)
    placed = [str(reader.folder / need) for need in dataset.needs]
    assert {str(path) for path in reader.list_paths()} <= set(placed)
    assert any(Path(path).is_relative_to(reader.image_folder) for path in placed)
    made = [place for file in dataset.files if not file.is_optional for place in file.makes.values()]
    assert set(dataset.needs) <= set(made) or name == "shapes"
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {name} |"))
    assert dataset.folder in row and all(f"{n:,}" in row for n in dataset.published.values())
    assert f"{dataset.folder}/" in PAGE


def test_what_torchvision_knows_is_what_the_table_has() -> None:
    from torchvision.datasets import DTD, SUN397, Flowers102, Food101, OxfordIIITPet
    from torchvision.datasets.imagenet import ARCHIVE_META

    files = {file.name: file for dataset in TABLE.values() for file in dataset.files}
    known = dict(ARCHIVE_META.values())
    known |= {url.rpartition("/")[2]: md5 for url, md5 in OxfordIIITPet._RESOURCES}
    known |= {"food-101.tar.gz": Food101._MD5, "dtd-r1.0.1.tar.gz": DTD._MD5}
    known |= {"SUN397.tar.gz": SUN397._DATASET_MD5, "102flowers.tgz": Flowers102._file_dict["image"][1]}
    for name, md5 in known.items():
        assert {source.md5 for source in files[name].sources} == {md5}, name


def test_imagenet_s_class_names_are_clip_s() -> None:
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    lines = TABLE_PATH.with_name("imagenet_classnames.txt").read_text(encoding="utf-8").splitlines()
    wnids, names = zip(*(line.split(" ", 1) for line in lines), strict=True)
    assert list(wnids) == sorted(set(wnids)) and list(names) == list(IMAGENET_CLASSNAMES)
