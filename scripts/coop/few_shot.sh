#!/usr/bin/env bash
. "$(dirname "$0")/../python.sh"
exec "$PYTHON" -m experiments few_shot --method CoOp "$@"
