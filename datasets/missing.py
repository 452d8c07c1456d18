"""What to say when a dataset is not there: what is missing, where it was looked for, how to get it, what to run meanwhile."""

import shlex
from pathlib import Path
from typing import Protocol

STEPS = "every dataset's folder tree, files, counts and source: docs/DATASETS.md"

MEANWHILE = ("meanwhile", "bash scripts/mpl/base2new.sh shapes 1   (its pictures are drawn on the spot: nothing to download)")

OWN_SPLIT = (
    "DATASET.MAKE_SPLIT True makes a split of your own from the pictures and keeps it there; "
    "accuracies on it are not comparable with published ones"
)


class Described(Protocol):
    """The facts of a reader that the messages use; `datasets.base.ImageDataset` has them all."""

    dataset_dir: str
    image_dir: str
    source: str
    split_source: str
    can_make_split: bool
    root: Path
    folder: Path
    image_folder: Path

    def list_paths(self) -> list[Path]:
        """The files beside the pictures (split, lists of classes) that the reader needs."""
        ...


def check_folders(dataset: Described) -> None:
    """Check that the dataset's folder and image folder are there; FileNotFoundError with the whole story if not."""
    for folder, what in ((dataset.root, "the data folder"), (dataset.folder, "its folder"), (dataset.image_folder, "its image folder")):
        if not folder.is_dir():
            raise FileNotFoundError(_missing(dataset, what, folder))


def missing_list(dataset: Described, path: Path) -> FileNotFoundError:
    """The error for a split file or list of classes that is not there beside the pictures."""
    return FileNotFoundError(
        _message(
            f"{type(dataset).__name__}: the file {path} is missing; the image folder {dataset.image_folder} is there.",
            *_commands(dataset),
            ("by hand", f"{path.name} from {dataset.split_source or dataset.source}"),
            ("", STEPS),
            *([("or", OWN_SPLIT)] if dataset.can_make_split else []),
            MEANWHILE,
        )
    )


def _missing(dataset: Described, what: str, folder: Path) -> str:
    """The message for a folder that is not there."""
    state = "is not a folder" if folder.exists() else "does not exist"
    lists = dataset.list_paths()
    return _message(
        f"{type(dataset).__name__}: {what} {folder} {state}. DATASET.ROOT is {str(dataset.root)!r} (--root; $DATA in the scripts).",
        ("expected", f"pictures in {dataset.image_folder}"),
        *(("", str(path)) for path in lists),
        *_misplaced(dataset),
        *_commands(dataset),
        ("by hand", f"pictures from {dataset.source}"),
        *([("", f"{lists[0].name} from {dataset.split_source}")] if dataset.split_source else []),
        ("", STEPS),
        MEANWHILE,
    )


def _commands(dataset: Described) -> list[tuple[str, str]]:
    """The command that fetches the dataset, where the project knows a source; a reader's module has the name of its config."""
    if not dataset.source.startswith("http"):
        return []
    name = type(dataset).__module__.rpartition(".")[2]
    return [("to get it", f"python tools/prepare.py {name} --root {shlex.quote(str(dataset.root))}")]


def _misplaced(dataset: Described) -> list[tuple[str, str]]:
    """A hint, where DATASET.ROOT is the dataset's own folder rather than the one above it."""
    if dataset.image_dir and dataset.root.name == dataset.dataset_dir and (dataset.root / dataset.image_dir).is_dir():
        return [("hint", f"DATASET.ROOT is the folder above {dataset.dataset_dir!r}: here {str(dataset.root.parent)!r}")]
    return []


def _message(headline: str, *lines: tuple[str, str]) -> str:
    """A headline, and below it indented lines of a word and a text."""
    return "\n".join([headline, *(f"  {word + ':' if word else '':<11} {text}" for word, text in lines)])
