"""Protocols of the papers as runs: planning them, making them, and the tables and figures of what they gave.

`facts`      the papers' datasets, and each method's configs from configs/protocols/
`run`        what a run is: its folder, its settings, its state
`protocols`  from a choice (methods, datasets, seeds, ...) to a list of runs
`arguments`  the choice that a command line and its `--grid` ask for
`execution`  makes runs, in this process or in several; `slurm` submits them as jobs
`results`    the finished runs as one DataFrame; `aggregate`, `tables` and `figures` show them
`schedule`   the prompts of each layer; `logs` averages the logs of CoOp and its kin
"""

import dassl  # noqa: F401, before torch: it sets how threads wait
