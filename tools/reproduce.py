#!/usr/bin/env python3
"""Run what is missing of a paper's protocol:  python tools/reproduce.py base2new|xd|dg|fewshot [--methods …] [--datasets …] [--seeds …] [--plan]

The work is done in sweeps/; --help lists the options.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    # Before imports that take long: a launcher passes on by it what came to its shell, and until the sweep listens it ends the plan.
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(128 + signal.SIGTERM))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sweeps.command import main

if __name__ == "__main__":
    sys.exit(main())
