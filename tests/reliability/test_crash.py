"""A run that is killed and started again ends as if it had never been killed."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import Any

from tests.reliability.conftest import Bench, outcome
from tests.reliability.same import assert_same

SEED = 20250219
N_IN_TIME, N_IN_WRITING = 12, 8


def test_twenty_kills(bench: Bench, whole: dict[str, Any], tmp_path: Path) -> None:
    """Twelve runs are killed at a random moment, eight right before a random step of writing a file; each then goes on to its end."""
    draw = random.Random(SEED)
    moments: list[dict[str, Any]] = [{"seconds": draw.uniform(0, whole["seconds"])} for _ in range(N_IN_TIME)]
    moments += [{"kill_at_write": n} for n in sorted(draw.sample(range(1, whole["n_writes"] + 1), N_IN_WRITING))]
    n_killed = 0
    for number, moment in enumerate(moments):
        folder, workers = tmp_path / str(number), ("DATALOADER.NUM_WORKERS", number % 2 * 2)
        run = bench.start(folder, *workers, kill_at_write=moment.get("kill_at_write", 0))
        if "seconds" in moment:
            time.sleep(moment["seconds"])
            run.send(signal.SIGKILL)
        n_killed += run.wait() == -signal.SIGKILL
        status, text = bench.run(folder, *workers)
        assert status == 0, f"moment {number}, {moment}: {text}"
        assert_same(outcome(folder), whole, f"moment {number}, {moment}, seed {SEED}, workers {workers[1]}")
    assert n_killed >= N_IN_WRITING + N_IN_TIME // 2, "runs ended before they were killed"
