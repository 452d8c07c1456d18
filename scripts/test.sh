#!/usr/bin/env bash
# Run the tests, several at once:  bash scripts/test.sh [ARGUMENTS OF PYTEST]
#
# N_PROCESSES in the environment: how many at once (default: one a core, at most 8); 0 for one process and a debugger.
WITH_TESTS=1
. "$(dirname "$0")/python.sh"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # the processes share the cores; small tensors gain nothing from more
exec "$PYTHON" -m pytest -n "${N_PROCESSES:-auto}" --maxprocesses 8 --dist worksteal "$@"
