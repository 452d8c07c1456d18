"""Base and new halves."""

import dataclasses

import pytest

from datasets.base_new import select_classes
from datasets.splits import Row, Split


def split_of(n_classes):
    rows = [Row(f"{label}.jpg", label, f"c{label}") for label in reversed(range(n_classes))]
    return Split(rows, rows[:1], rows)


@pytest.mark.parametrize("n_classes", (2, 3, 4, 5, 47, 100))
def test_base_is_the_first_half_rounded_up(n_classes):
    split = split_of(n_classes)
    n_base = (n_classes + 1) // 2
    base = select_classes(split, "base")
    assert {(row.name, row.label) for row in base.train} == {(f"c{i}", i) for i in range(n_base)}
    if n_classes > 1:
        new = select_classes(split, "new")
        assert {(row.name, row.label) for row in new.test} == {(f"c{i}", i - n_base) for i in range(n_base, n_classes)}
        assert len(base.val) + len(new.val) == 1
    assert select_classes(split, "all") is split


def test_order_and_paths_are_kept():
    new = select_classes(split_of(5), "new")
    assert new.train == [Row("4.jpg", 1, "c4"), Row("3.jpg", 0, "c3")]


@pytest.mark.parametrize("half", ["base", "new"])
def test_one_class_has_no_halves(half):
    with pytest.raises(ValueError, match=f"'{half}', but the dataset has 1 class. Base and new need two classes or more"):
        select_classes(split_of(1), half)
    assert select_classes(split_of(1), "all") == split_of(1)


@pytest.mark.parametrize("choice", ["base", "new"])
def test_a_half_that_cannot_be_tested_is_told_at_either(choice):
    split = split_of(4)
    split = dataclasses.replace(split, test=[row for row in split.test if row.label < 2])
    with pytest.raises(ValueError, match="the new half of the classes has no test pictures, so that base and new cannot both be tested"):
        select_classes(split, choice)


def test_unknown_choice_lists_the_choices():
    with pytest.raises(ValueError, match="SUBSAMPLE_CLASSES is 'novel'; it takes one of 'all', 'base', 'new'"):
        select_classes(split_of(2), "novel")
