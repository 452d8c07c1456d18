"""One's own pictures as a file lists them: CSV or JSON of path, class and, if one likes, split.

    path,class,split                  [{"path": "a/1.jpg", "class": "robin", "split": "train"}, …]
    a/1.jpg,robin,train

The file may come from anywhere, so everything in it is checked, and every message names the file and the row.
"""

import csv
import io
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .folder_layout import PART_OF, Picture
from .splits import MAX_NAME, PARTS, check_file, parse_json, parse_rows, shown, wrong_with_name, wrong_with_path

COLUMNS = ("path", "class", "split")
"""What a list says of a picture; split may be absent as a whole. Upper and lower case count alike, other columns are passed over."""

DELIMITERS = {".csv": ",;\t", ".tsv": "\t", ".txt": ",;\t"}
"""Ending of a list in columns -> what may stand between them; the one most frequent in the first line does."""

Record = tuple[str, Mapping[str, Any]]  # where it stands, column -> value


@dataclass
class Listing:
    """What a list says: its pictures in order, each once; class -> label where it states labels, else empty; how many rows say the same twice."""

    pictures: list[Picture]
    labels: dict[str, int]
    n_repeated: int


def read_list(path: Path, owner: str) -> Listing:
    """The pictures that a list names.

    Args:
        path: a .csv, .tsv or .txt file with a line of column names; or a .json file that holds a list of objects, or an object
            of train, val and test with rows [path, label, class name], as the published split files do.
        owner: opens every message.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read; a column is missing; a row is incomplete, leaves the folder, states an unknown split, or says
            something else of a picture than a row before it.
    """
    text = read_any_text(path, owner)
    where = f"{owner}: {path}"
    suffix = path.suffix.lower()
    if suffix == ".json":
        records = _json_records(text, where)
    elif suffix in DELIMITERS:
        records = _csv_records(text, where, DELIMITERS[suffix])
    else:
        raise ValueError(f"{where} ends in {path.suffix!r}; lists end in {', '.join(DELIMITERS)} or .json.")
    pictures: dict[str, Picture] = {}
    first_at: dict[str, str] = {}
    labels: dict[str, int] = {}
    n_repeated = 0
    for at, record in records:
        picture = _picture(record, f"{where}, {at}")
        known = pictures.setdefault(picture.path, picture)
        if known != picture:
            raise ValueError(
                f"{where}, {at}: {shown(picture.path)} is {_said(picture)}, but {_said(known)} in {first_at[picture.path]}. "
                "A picture has one class and one part of the split: take one of the rows away."
            )
        n_repeated += picture.path in first_at
        first_at.setdefault(picture.path, at)
        if "label" in record and labels.setdefault(picture.class_name, record["label"]) != record["label"]:
            raise ValueError(
                f"{where}, {at}: class {shown(picture.class_name)} has the labels {labels[picture.class_name]} and {record['label']}."
            )
    if not pictures:
        raise ValueError(f"{where} lists no pictures; it needs rows of {', '.join(COLUMNS)}.")
    _refuse_half_a_split(list(pictures.values()), where)
    return Listing(list(pictures.values()), labels, n_repeated)


def read_any_text(path: Path, owner: str) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark, or in UTF-16 with one, as spreadsheets write them.

    Raises FileNotFoundError, or ValueError where it is too large or in another encoding.
    """
    check_file(path, owner)
    data = path.read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{owner}: {path} is not {encoding.removesuffix('-sig').upper()} text ({error.reason} at byte {error.start}): save it as UTF-8."
        ) from error


def read_any_json(path: Path, owner: str) -> Any:
    """What a JSON file in one of the encodings of `read_any_text` holds; ValueError if it is no JSON."""
    return parse_json(read_any_text(path, owner), f"{owner}: {path}")


def _json_records(text: str, where: str) -> Iterator[Record]:
    """The objects of a JSON list; of a split file, its rows as such."""
    data = parse_json(text, where)
    if isinstance(data, dict) and set(PARTS) <= set(data):
        for part in PARTS:
            for i, row in enumerate(parse_rows(data[part], f"{where}, {part!r}")):
                yield f"{part!r}, row {i}", {"path": row.path, "class": row.name, "split": part, "label": row.label}
        return
    if not isinstance(data, list):
        found = f"an object with the keys {shown(sorted(data))}" if isinstance(data, dict) else f"a JSON {type(data).__name__}"
        raise ValueError(
            f"{where} holds {found}; expected a list of objects with {', '.join(COLUMNS)}, or an object with {', '.join(PARTS)}."
        )
    for i, entry in enumerate(data):
        if not isinstance(entry, dict):
            raise ValueError(f"{where}, entry {i}: it is not an object with {', '.join(COLUMNS)}; received {shown(entry)}.")
        columns = _columns([str(key) for key in entry], f"{where}, entry {i}")
        yield f"entry {i}", {column: entry[key] for column, key in columns.items()}


def _csv_records(text: str, where: str, delimiters: str) -> Iterator[Record]:
    """The rows of a CSV file, by column; the first line that is not empty names the columns."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(delimiters, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter, skipinitialspace=True, strict=True)
    names: list[str] | None = None
    columns: dict[str, str] = {}
    try:
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            if names is None:
                names = [field.strip() for field in fields]
                columns = _columns(names, f"{where}, line {reader.line_num}")
                continue
            if len(fields) != len(names):
                raise ValueError(
                    f"{where}, line {reader.line_num}: {len(fields)} fields where the columns are {len(names)} ({shown(', '.join(names))[1:-1]}); received "
                    f"{shown(delimiter.join(fields))}. A field that holds {delimiter!r} stands in double quotes."
                )
            by_name = dict(zip(names, fields, strict=True))
            yield f"line {reader.line_num}", {column: by_name[name] for column, name in columns.items()}
    except csv.Error as error:
        raise ValueError(f"{where}, line {reader.line_num}: it is not valid CSV ({error}).") from error


def _columns(names: Sequence[str], where: str) -> dict[str, str]:
    """Column -> its name as the list writes it; ValueError where path or class is missing, or one is there twice."""
    found: dict[str, str] = {}
    for name in names:
        column = name.strip().lower()
        if column in COLUMNS and column in found:
            raise ValueError(f"{where}: the column {column!r} is there twice, as {shown(found[column])} and {shown(name)}: take one away.")
        if column in COLUMNS:
            found[column] = name
    absent = [column for column in COLUMNS[:2] if column not in found]
    if absent:
        raise ValueError(
            f"{where}: {' and '.join(map(repr, absent))} missing among the columns; found {shown(list(names))}, expected 'path' and 'class', "
            "and 'split' if the list states one."
        )
    return found


def _picture(record: Mapping[str, Any], where: str) -> Picture:
    """One row, checked and with its path in one form, so that "./a.jpg" and "a.jpg" are the same picture."""
    path, name, part = (record.get(column) for column in COLUMNS)
    part = "" if part is None else part
    path = path.strip() if isinstance(path, str) else path
    wrong = wrong_with_path(path)
    if wrong or not isinstance(path, str):
        raise ValueError(f"{where}: the path {shown(path)} {wrong}. It has to be relative to DATASET.FOLDER_PATH, and inside it.")
    if not isinstance(name, str) or not name.strip() or wrong_with_name(name.strip()):
        raise ValueError(
            f"{where}: the class {shown(name)} is not a string of printable characters with something in it, {MAX_NAME:,} at most."
        )
    if not isinstance(part, str) or (part.strip() and part.strip().lower() not in PART_OF):
        raise ValueError(f"{where}: unknown split {shown(part)}; accepted: {', '.join(PART_OF)}, or no such column.")
    path = posixpath.normpath(path.replace("\\", "/"))
    return Picture(path, name.strip(), PART_OF.get(part.strip().lower(), ""))


def _said(picture: Picture) -> str:
    return f"class {shown(picture.class_name)}{f' in {picture.part}' if picture.part else ''}"


def _refuse_half_a_split(pictures: Sequence[Picture], where: str) -> None:
    unstated = [picture.path for picture in pictures if not picture.part]
    if unstated and len(unstated) < len(pictures):
        raise ValueError(
            f"{where}: {len(unstated):,} of its {len(pictures):,} pictures have no split, such as {shown(unstated[0])}. "
            "State it for all, or leave the column out to have a split drawn."
        )
