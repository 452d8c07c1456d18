"""Own images as a list: CSV or JSON of path, class and (optional) split.

CSV has a line of column names, "path,class,split"; JSON holds a list of objects with these keys.
"""

import io
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING

from dassl.utils import read_json

from .folder_layout import PART_OF, OwnImage
from .splits import PARTS, checked_rows, read_split_file, read_text

if TYPE_CHECKING:
    import pandas as pd

DELIMITERS = ",;\t"
"""What may separate the columns; the most frequent one in the first line does."""


def read_list(path: Path) -> tuple[list[OwnImage], dict[str, int]]:
    """The images that a list names, each once; and class -> label if the list states labels.

    Args:
        path: CSV by any name; or .json, which may also be a split file.
    """
    labels: dict[str, int] = {}
    if path.suffix.lower() == ".json" and isinstance(read_json(str(path)), dict):
        split = read_split_file(path)
        split.check_classes()
        images = [OwnImage(row.path, row.name, part) for part in PARTS for row in getattr(split, part)]
        labels = {name: label for label, name in split.class_names().items()}
        if len(labels) < len(split.class_names()):
            raise ValueError(f"{path}: two labels have the same class name.")
    else:
        images = _to_images(_read_table(path), path)
    once: dict[str, OwnImage] = {}
    for image in images:
        image = image._replace(path=posixpath.normpath(image.path))  # "./a.jpg" and "a.jpg" are one image
        known = once.setdefault(image.path, image)
        if known != image:
            raise ValueError(f"{path}: {image.path!r} is listed twice, as {known[1:]} and as {image[1:]}.")
    if len({image.part == "" for image in images}) == 2:
        raise ValueError(f"{path}: some images have no split. State it for all, or leave the column out.")
    return list(once.values()), labels


def _to_images(table: "pd.DataFrame", path: Path) -> list[OwnImage]:
    if table.empty or not {"path", "class"} <= set(table):
        found = ", ".join(map(str, table))
        raise ValueError(f"{path} needs rows with path, class and perhaps split; its columns: {found:.200}.")
    rows = checked_rows(zip(table["path"], [0] * len(table), table["class"], strict=True), str(path))
    if "split" not in table:
        return [OwnImage(row.path, row.name) for row in rows]
    parts = table["split"].str.lower()
    wrong = set(parts) - {*PART_OF, ""}
    if wrong:
        raise ValueError(f"{path} has the split {wrong.pop()!r:.80}; it takes {', '.join(PART_OF)}.")
    parts = parts.map({**PART_OF, "": ""})
    return [OwnImage(row.path, row.name, part) for row, part in zip(rows, parts, strict=True)]


def _read_table(path: Path) -> "pd.DataFrame":
    """The columns, with names in lower case; cells without surrounding white space, empty ones as ""."""
    import pandas as pd  # slow to import, and only lists need it

    if path.suffix.lower() == ".json":
        table = pd.DataFrame(read_json(str(path)))
    else:
        text = read_text(path).lstrip()
        delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
        try:
            table = pd.read_csv(
                io.StringIO(text),
                sep=delimiter,
                dtype=str,
                skipinitialspace=True,
                keep_default_na=False,  # a class may be called "None"
                na_values=[""],
            )
        except ValueError as error:  # more fields than columns, no line at all
            message = f"{path}: {error}. A field that holds {delimiter!r} stands in double quotes."
            raise ValueError(message) from error
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError(f"{path}: its rows have more fields than its first line has names.")
    table = table.rename(columns=lambda name: str(name).strip().lower()).dropna(how="all").fillna("")
    return table.map(lambda cell: cell.strip() if isinstance(cell, str) else cell)
