# Sets PYTHON to a Python that has what requirements.txt lists, and goes to the clone; for bash 3.2 and later.
# Sourced by the launchers, which read relative paths from LAUNCHED_FROM. PYTHON of the environment is taken as it is;
# else python3 or python, if it has all, else .venv in the clone, into which the requirements are installed.

if [ -z "${BASH_VERSION:-}" ]; then # before anything that another shell cannot read
    echo "Error: this is written for bash; run it with bash: bash ${ZSH_ARGZERO:-$0}${*:+ $*}" >&2
    exit 2
fi
set -euo pipefail
unset CDPATH
export LAUNCHED_FROM=$PWD
case "${PYTHON:-}" in [!/]*/*) PYTHON=$PWD/$PYTHON ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# has_requirements PYTHON: whether it is new enough and has the listed packages, with WITH_TESTS=1 those of the tests too
has_requirements() {
    "$1" - "${WITH_TESTS:-0}" 2>/dev/null <<'END'
import re, sys
from importlib.metadata import version
text = open("requirements.txt", encoding="utf-8").read()
text = text if sys.argv[1] == "1" else text.split("# To run the tests")[0]
numbers = lambda version: [int(n) for n in re.findall(r"\d+", version)[:3]]
listed = re.findall(r"^([\w-]+)>=([\d.]+)", text, re.M)
sys.exit(sys.version_info < (3, 10) or any(numbers(version(name)) < numbers(least) for name, least in listed))
END
}

if [ -n "${PYTHON:-}" ]; then
    has_requirements "$PYTHON" || {
        echo "Error: PYTHON=$PYTHON is no Python 3.10 or later with all of requirements.txt: install that there, name" \
            "another, or leave PYTHON out" >&2
        exit 2
    }
else
    for PYTHON in python3 python "$PWD/.venv/bin/python" none; do has_requirements "$PYTHON" && break; done
    if [ "$PYTHON" = none ]; then
        for python in python3 python3.13 python3.12 python3.11 python3.10 none; do
            "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && break
        done
        [ "$python" != none ] || { echo "Error: no Python 3.10 or later was found; install one, or set PYTHON" >&2; exit 2; }
        echo "Installing requirements.txt into $PWD/.venv (once; some minutes)"
        "$python" -m venv .venv
        PYTHON=$PWD/.venv/bin/python
        "$PYTHON" -m pip install --disable-pip-version-check -r requirements.txt
    fi
fi
export PYTHON
