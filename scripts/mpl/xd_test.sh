#!/usr/bin/env bash
. "$(dirname "$0")/../python.sh"
exec "$PYTHON" -m experiments xd_test --method MPL "$@"
