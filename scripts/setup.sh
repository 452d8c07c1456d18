#!/usr/bin/env bash
# Install what the project needs, unless it is there; every other launcher does this by itself:  bash scripts/setup.sh
. "$(dirname "$0")/common.sh"
setup_python --tests
say "Ready: $("$PYTHON" -c 'import sys; print(sys.executable)')"
