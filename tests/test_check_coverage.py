"""tools/check_coverage.py, by which .ci/run holds the tests to their bound."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import check_coverage


def report(path: Path, **packages: tuple[int, int, int, int]) -> str:
    """Write a report with one file a package, of covered lines, lines, covered branches and branches."""
    keys = ("covered_lines", "num_statements", "covered_branches", "num_branches")
    files = {
        f"{name}/file.py": {"summary": {**dict(zip(keys, counts, strict=True)), "percent_covered_display": "9"}}
        for name, counts in packages.items()
    }
    path.write_text(json.dumps({"files": files}))
    return str(path)


def test_each_package_must_reach_the_bound_in_lines_and_in_branches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "report.json"
    assert check_coverage.main([report(path, clip=(95, 100, 9, 10), dassl=(90, 100, 18, 20))]) == 0
    assert (
        capsys.readouterr().out == "clip: 95.0 % of the lines, 90.0 % of the branches\ndassl: 90.0 % of the lines, 90.0 % of the branches\n"
    )
    assert check_coverage.main([report(path, clip=(99, 100, 8, 10), dassl=(99, 100, 20, 20))]) == 1
    assert check_coverage.main([report(path, clip=(89, 100, 10, 10))]) == 1
    assert check_coverage.main([report(path, clip=(89, 100, 10, 10)), "--least", "80"]) == 0


def test_nothing_measured_is_no_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_coverage.main([report(tmp_path / "report.json")]) == 1
    with pytest.raises(SystemExit, match="2"):
        check_coverage.main([str(tmp_path / "absent.json")])
    assert "is no coverage report in JSON" in capsys.readouterr().err
