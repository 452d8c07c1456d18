"""docs/RELIABILITY.md: every error in its table has a test that is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

REPO = Path(__file__).parents[2]
ROW = re.compile(r"^\| (.+?) \| (.+?) \| `(tests/[\w/]+\.py)::(\w+)` \|$", re.MULTILINE)


def test_every_row_has_its_test() -> None:
    page = (REPO / "docs" / "RELIABILITY.md").read_text()
    rows = ROW.findall(page)
    assert len(rows) >= 34, "the table of errors has shrunk"
    n_named = len(re.findall(r"`tests/[\w/]+\.py::\w+`", page))
    assert n_named == len(rows), "a row is not as the others"
    for what, _, path, name in rows:
        names = {node.name for node in ast.walk(ast.parse((REPO / path).read_text())) if isinstance(node, ast.FunctionDef)}
        assert name in names, f"{what}: {path} has no {name}"
