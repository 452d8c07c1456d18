#!/usr/bin/env bash
# Install what the project needs, unless it is there; every launcher does so by itself:  bash scripts/setup.sh
export WITH_TESTS=1
exec bash "$(dirname "$0")/python.sh" -c 'import sys; print(f"Ready: {sys.executable}")'
