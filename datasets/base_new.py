"""Base and new classes: the two halves of a dataset's labels, each numbered from 0 (CoCoOp, arXiv 2203.05557, section 4.1)."""

from .splits import Row, Split

SUBSAMPLE_CHOICES = ("all", "base", "new")


def check_subsample(choice: str) -> str:
    """`choice` if it is one of `SUBSAMPLE_CHOICES`; ValueError otherwise."""
    if choice not in SUBSAMPLE_CHOICES:
        raise ValueError(f"DATASET.SUBSAMPLE_CLASSES is {choice!r}; it takes one of {', '.join(map(repr, SUBSAMPLE_CHOICES))}.")
    return choice


def check_halves(n_classes: int, choice: str, origin: str) -> None:
    """ValueError where `choice` is a half and there are fewer than two classes: base alone would be trained on for nothing. `origin` opens the message."""
    if choice != "all" and n_classes < 2:
        raise ValueError(
            f"{origin}: DATASET.SUBSAMPLE_CLASSES is {choice!r}, but the dataset has {n_classes} class. Base and new need two classes or more: "
            "add one, or run on all classes (few_shot.sh, or zeroshot.sh of zsclip)."
        )


def select_classes(split: Split, choice: str) -> Split:
    """The rows of the chosen classes, relabelled from 0 in order of label.

    Of train's n labels in order, the first ceil(n/2) are "base" and the rest "new"; "all" leaves the split as it is.
    Raises ValueError where a half is asked of a dataset of one class, or of one in which a half has no test pictures.
    """
    check_subsample(choice)
    if choice == "all":
        return split
    labels = sorted({row.label for row in split.train})
    check_halves(len(labels), choice, split.origin)
    n_base = (len(labels) + 1) // 2
    halves = {"base": set(labels[:n_base]), "new": set(labels[n_base:])}
    for half, of_half in halves.items():
        if split.test and not any(row.label in of_half for row in split.test):
            raise ValueError(
                f"{split.origin}: the {half} half of the classes has no test pictures, so that base and new cannot both be tested: add some, or run on "
                "all classes"
            )
    chosen = sorted(halves[choice])
    relabel = {label: new_label for new_label, label in enumerate(chosen)}

    def chosen_of(rows: list[Row]) -> list[Row]:
        return [Row(row.path, relabel[row.label], row.name) for row in rows if row.label in relabel]

    return Split(chosen_of(split.train), chosen_of(split.val), chosen_of(split.test), split.origin, split.is_own)
