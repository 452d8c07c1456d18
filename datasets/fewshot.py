"""Few-shot samples: K images a class, drawn as CoOp draws them: seeds 1 to 3 give the published samples."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from .splits import Row, Split, rows_by_label

MAX_VAL_SHOTS = 4  # validation images a class are min(K, 4), as in the published readers


def draw_few_shots(rows: Sequence[Row], n_shots: int, rng: random.Random) -> list[Row]:
    """`n_shots` rows of each label without replacement, or all of them where a label has fewer."""
    drawn: list[Row] = []
    for items in rows_by_label(rows).values():
        drawn += rng.sample(items, n_shots) if len(items) >= n_shots else items
    return drawn


def sample_split(split: Split, n_shots: int, seed: int, samples_val: bool = True) -> Split:
    """The split with train reduced to `n_shots` images a class and val to min(n_shots, 4); test stays whole.

    Args:
        split: all classes; base and new are taken afterwards.
        n_shots: K; below 1 everything is kept.
        seed: the run's seed; below 0 the sample differs from run to run.
        samples_val: False leaves val whole (ImageNet, whose val is also its test).
    """
    if n_shots < 1:
        return split
    n_of = Counter(row.name for row in split.train)
    small = [name for name, n in n_of.items() if n < n_shots]
    if small:
        print(
            f"{len(small):,} of the {len(n_of):,} classes have fewer than {n_shots} training images, such as "
            f"{small[0]!r} with {n_of[small[0]]}: all of theirs are taken."
        )
    rng = random.Random(seed if seed >= 0 else None)  # its own generator: the global one stays as it was
    train = draw_few_shots(split.train, n_shots, rng)
    val = draw_few_shots(split.val, min(n_shots, MAX_VAL_SHOTS), rng) if samples_val else split.val
    return replace(split, train=train, val=val)
