"""Base and new classes: the two halves of a dataset's labels (CoCoOp, arXiv 2203.05557, section 4.1)."""

from dataclasses import replace

from .splits import Row, Split

SUBSAMPLE_CHOICES = ("all", "base", "new")


def check_n_classes(n_classes: int, origin: str) -> None:
    """Raises a ValueError if a half of the classes would be one class."""
    if n_classes < 4:
        raise ValueError(
            f"{origin}: a half of its {n_classes} classes would be one class, which any model gets right: "
            "base and new need four classes or more. Run on all classes instead (few_shot.sh)."
        )


def select_classes(split: Split, choice: str) -> Split:
    """The rows of the chosen classes, with labels from 0.

    Of the n labels of train in order, the first ceil(n/2) are "base" and the rest "new".
    """
    if choice not in SUBSAMPLE_CHOICES:
        raise ValueError(f"DATASET.SUBSAMPLE_CLASSES is {choice!r}; it takes {', '.join(SUBSAMPLE_CHOICES)}.")
    if choice == "all":
        return split
    labels = sorted({row.label for row in split.train})
    n_base = (len(labels) + 1) // 2
    halves = {"base": labels[:n_base], "new": labels[n_base:]}
    check_n_classes(len(labels), split.origin)
    tested = {row.label for row in split.test}
    if not all(tested.intersection(half) for half in halves.values()):
        raise ValueError(
            f"{split.origin}: a half of its classes has no test images. Run on all classes (few_shot.sh)."
        )
    new_label = {label: i for i, label in enumerate(halves[choice])}

    def chosen(rows: list[Row]) -> list[Row]:
        return [Row(row.path, new_label[row.label], row.name) for row in rows if row.label in new_label]

    return replace(split, train=chosen(split.train), val=chosen(split.val), test=chosen(split.test))
