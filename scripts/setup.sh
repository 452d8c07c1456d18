#!/usr/bin/env bash
# Install what the project needs, unless it is there; every launcher does this by itself:  bash scripts/setup.sh
WITH_TESTS=1
. "$(dirname "$0")/python.sh"
echo "Ready: $("$PYTHON" -c 'import sys; print(sys.executable)')"
