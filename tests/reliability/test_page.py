"""docs/RELIABILITY.md: every error in its tables has a test that is there."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

REPO = Path(__file__).parents[2]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
LEAST = {"Every error a person can cause": 80, "Hostile input": 43}  # rows; what is listed once stays listed


def rows_of(section: str) -> list[list[str]]:
    """The cells of the rows of a section's tables, without their headings."""
    text = (REPO / "docs" / "RELIABILITY.md").read_text()
    lines = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0].splitlines()
    rows = [line for line, below in itertools.pairwise([*lines, ""]) if line.startswith("| ") and not below.startswith("|---")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in rows]


def test_every_row_has_its_test() -> None:
    for section, least in LEAST.items():
        rows = rows_of(section)
        assert len(rows) >= least, f"the table of {section!r} has shrunk"
        assert len({len(row) for row in rows}) == 1, f"a row of {section!r} is not as the others"
        for row in rows:
            tests = TEST.findall(row[-1])
            assert tests or row[-1] == "the same", f"{row[:-1]} names no test"
            for path, name in tests:
                names = {node.name for node in ast.walk(ast.parse((REPO / path).read_text())) if isinstance(node, ast.FunctionDef)}
                assert name in names, f"{row[0]}: {path} has no {name}"
