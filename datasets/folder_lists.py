"""Own images as a list: CSV or JSON of path, class and (optional) split.

CSV has a line of column names, "path,class,split"; JSON holds a list of objects with these keys.
"""

import csv
import io
import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .folder_layout import PART_OF, OwnImage
from .splits import PARTS, checked_rows, read_json, read_split_file, read_text

COLUMNS = ("path", "class", "split")  # upper and lower case alike; other columns are passed over

DELIMITERS = {".csv": ",;\t", ".tsv": "\t", ".txt": ",;\t"}
"""Ending of a list -> what may separate its columns; the most frequent one in the first line does."""


def read_list(path: Path) -> tuple[list[OwnImage], dict[str, int]]:
    """The images that a list names, each once; and class -> label if the list states labels.

    Args:
        path: .csv, .tsv or .txt; or .json, which may also be a split file.
    """
    labels: dict[str, int] = {}
    suffix = path.suffix.lower()
    if suffix == ".json" and isinstance(read_json(path), dict):
        split = read_split_file(path)
        split.check_classes()
        images = [OwnImage(row.path, row.name, part) for part in PARTS for row in getattr(split, part)]
        labels = {name: label for label, name in split.class_names().items()}
        if len(labels) < len(split.class_names()):
            raise ValueError(f"{path}: two labels have the same class name.")
    elif suffix == ".json":
        images = _to_images(_json_records(path), path)
    elif suffix in DELIMITERS:
        images = _to_images(_csv_records(path, DELIMITERS[suffix]), path)
    else:
        raise ValueError(f"{path} ends in {path.suffix!r}; lists end in {', '.join(DELIMITERS)} or .json.")
    once: dict[str, OwnImage] = {}
    for image in images:
        image = image._replace(path=posixpath.normpath(image.path))  # "./a.jpg" and "a.jpg" are one image
        known = once.setdefault(image.path, image)
        if known != image:
            raise ValueError(f"{path}: {image.path!r} is listed twice, as {known[1:]} and as {image[1:]}.")
    if len({image.part == "" for image in images}) == 2:
        raise ValueError(f"{path}: some images have no split. State it for all, or leave the column out.")
    return list(once.values()), labels


def _to_images(records: Sequence[dict[str, Any]], path: Path) -> list[OwnImage]:
    if not records or not {"path", "class"} <= set(records[0]):
        found = ", ".join(records[0]) if records else "no rows"
        raise ValueError(f"{path} needs the columns path and class, and may have split; it has {found:.200}.")
    rows = checked_rows([(record.get("path"), 0, record.get("class")) for record in records], str(path))
    images = []
    for row, record in zip(rows, records, strict=True):
        part = str(record.get("split") or "").lower()
        if part and part not in PART_OF:
            raise ValueError(f"{path}: {row.path!r} has split {part!r:.80}; it takes {', '.join(PART_OF)}.")
        images.append(OwnImage(row.path, row.name, PART_OF.get(part, "")))
    return images


def _json_records(path: Path) -> list[dict[str, Any]]:
    data = read_json(path)
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise ValueError(f"{path} is neither a list of objects with {', '.join(COLUMNS)} nor a split file.")
    return [
        {
            key.strip().lower(): value.strip() if isinstance(value, str) else value
            for key, value in entry.items()
        }
        for entry in data
    ]


def _csv_records(path: Path, delimiters: str) -> list[dict[str, Any]]:
    text = read_text(path).lstrip("\r\n")
    header = text.partition("\n")[0]
    delimiter = max(delimiters, key=header.count)
    lines = io.StringIO(text, newline="")
    reader = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    records = []
    try:
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        for record in reader:
            if None in record:  # where DictReader puts what is too much
                raise ValueError(
                    f"{path}, line {reader.line_num}: more fields than the {len(reader.fieldnames)} columns. "
                    f"A field that holds {delimiter!r} stands in double quotes."
                )
            fields = {name: (value or "").strip() for name, value in record.items()}
            if any(fields.values()):
                records.append(fields)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: it is not valid CSV ({error}).") from error
    return records
