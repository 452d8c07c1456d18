#!/usr/bin/env bash
# Run the tests on the oldest and the newest supported versions:  bash scripts/test_matrix.sh [PYTHON:oldest|newest …]
#
# Without arguments: python3.10:oldest, python3.12:newest and python3.13:newest, as far as these are installed. "oldest" takes every bound of requirements.txt exactly,
# "newest" what pip finds. Each has an environment of its own under MATRIX (default: output/test_matrix, which is kept for the next time), a log beside it, and a line in
# the table that is printed at the end; docs/RELIABILITY.md holds the last one.
[ -n "${BASH_VERSION:-}" ] || { echo "Error: run it with bash: bash $0${*:+ $*}" >&2; exit 2; }
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/.."
MATRIX=${MATRIX:-output/test_matrix}
mkdir -p "$MATRIX"
TABLE=$MATRIX/table.md

# find_legs: prints the default legs whose Python is here
find_legs() {
    local leg
    for leg in python3.10:oldest python3.12:newest python3.13:newest; do
        if "${leg%:*}" -c '' 2>/dev/null; then printf '%s\n' "$leg"; else printf '%s is not installed: left out\n' "${leg%:*}" >&2; fi
    done
}

# requirements_of oldest|newest FILE: what pip is to install
requirements_of() {
    case "$1" in
        oldest) sed 's/>=/==/' requirements.txt >"$2" ;;
        newest) cp requirements.txt "$2" ;;
        *) printf "Error: '%s' is neither oldest nor newest; usage: bash scripts/test_matrix.sh [PYTHON:oldest|newest …]\n" "$1" >&2; exit 2 ;;
    esac
}

# run_leg PYTHON VERSIONS: installs and tests; adds a line to the table
run_leg() {
    local name log venv start status=passed
    name=$(basename "$1")-$2
    log=$MATRIX/$name.txt
    venv=$MATRIX/$name
    requirements_of "$2" "$MATRIX/$name-requirements.txt"
    [ -x "$venv/bin/python" ] || "$1" -m venv "$venv"
    printf '%s: installing, then testing; log in %s\n' "$name" "$log"
    if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$MATRIX/$name-requirements.txt" >"$log" 2>&1; then
        printf '%s: the installation failed; the end of its log:\n' "$name"
        tail -n 5 "$log"
        printf '| %s | not installed | | | | | |\n' "$name" >>"$TABLE"
        return 1
    fi
    start=$(date +%s)
    PYTHON=$venv/bin/python bash scripts/test.sh >>"$log" 2>&1 || status=failed
    "$venv/bin/python" - "$2" "$status" "$(tail -n 1 "$log" | sed 's/=//g; s/ in [0-9.].*//')" "$(($(date +%s) - start))" >>"$TABLE" <<'END'
import platform, sys
from importlib.metadata import version
versions, status, counts, seconds = sys.argv[1:]
cells = platform.python_version(), versions, *map(version, ("torch", "torchvision", "numpy")), counts.strip(), f"{int(seconds) / 60:.1f}"
print("|", " | ".join(cells), "|")
END
    printf '%s: %s: %s\n' "$name" "$status" "$(tail -n 1 "$log")"
    [ "$status" = passed ]
}

if [ $# = 0 ]; then
    # shellcheck disable=SC2046
    set -- $(find_legs)
fi
printf '| Python | packages | torch | torchvision | numpy | tests | minutes |\n|---|---|---|---|---|---|---|\n' >"$TABLE"
n_failed=0
for leg in "$@"; do
    run_leg "${leg%:*}" "${leg##*:}" || n_failed=$((n_failed + 1))
done
cat "$TABLE"
[ "$n_failed" = 0 ]
