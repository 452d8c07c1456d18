#!/usr/bin/env python3
"""Print base, new and H of one base-to-new run:  python tools/base2new_result.py TRAIN_BASE_DIR TEST_NEW_DIR

H is the harmonic mean of the two accuracies (Xian et al., CVPR 2017), as CoCoOp's tables have it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from reporting.published import harmonic_mean
from reporting.runs import HALVES, Run, read_run


def read_half(run_dir: Path, half: str) -> Run:
    """The finished run in `run_dir` on one half of the classes, base or new.

    Raises:
        ValueError: there is no finished result, or it is of another half.
    """
    run = read_run(run_dir)
    if run.classes != half:
        raise ValueError(f"{run_dir / 'result.json'} is of the classes {run.classes!r}, not {half!r}")
    return run


def main(argv: list[str]) -> int:
    """Print one line of the three figures."""
    if len(argv) != 2:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    try:
        base, new = (read_half(Path(folder), half) for folder, half in zip(argv, HALVES, strict=True))
        if base.dataset != new.dataset:
            raise ValueError(f"base is of {base.dataset} ({base.run_dir}), but new of {new.dataset} ({new.run_dir})")
    except ValueError as e:
        print(f"Error: {e}", file=sys.stderr)
        return 2
    h = harmonic_mean(base.accuracy, new.accuracy)
    print(f"{base.dataset}: base {base.accuracy:.2f}  new {new.accuracy:.2f}  H {h:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
