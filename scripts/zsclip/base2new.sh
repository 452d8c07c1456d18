#!/usr/bin/env bash
. "$(dirname "$0")/../python.sh"
exec "$PYTHON" -m experiments base2new --method ZeroshotCLIP "$@"
