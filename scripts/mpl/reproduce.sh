#!/usr/bin/env bash
# Run what the MPL paper reports, with the methods it is compared with, and make its tables and figures:  bash scripts/mpl/reproduce.sh [--plan] [--gpus 0,1,2] [OPTION OF tools/reproduce.py …]
# The paper: arXiv 2502.14125, section 4: base-to-new over 11 datasets, accuracy against training time (its figure 2), transfer from ImageNet to 10 datasets.
# A later option takes the place of one below: --methods MPL runs MPL alone, --datasets shapes the embedded dataset. What is missing is run, and what is
# there is shown, with what is missing marked, in $OUTPUT/results.html and $OUTPUT/figures; the runs of a --grid as pivots.
. "$(dirname "$0")/../common.sh"

METHODS=ZeroshotCLIP,CoOp,CoCoOp,MaPLe,MPL

# option NAME DEFAULT ARGUMENT…: prints what the last --NAME VALUE or --NAME=VALUE among the arguments gives
option() {
    local name=$1 value=$2
    shift 2
    while [ $# -gt 0 ]; do
        case "$1" in
            "$name") value=${2:-} ;;
            "$name="*) value=${1#*=} ;;
        esac
        shift
    done
    printf '%s' "$value"
}

case " $* " in
    *" --output"*) fail "--output is OUTPUT here: run OUTPUT=FOLDER bash scripts/mpl/reproduce.sh" ;;
    *" --root"*) fail "--root is DATA here: run DATA=FOLDER bash scripts/mpl/reproduce.sh" ;;
esac
setup_python
export PYTHON

status=0
supervise "$PWD" "$PYTHON" "$REPO_DIR/tools/reproduce.py" base2new,xd --methods "$METHODS" --datasets all --seeds 1,2,3 \
    --root "$DATA" --output "$OUTPUT" "$@" || status=$?
case " $* " in *" --plan "* | *" --help "* | *" -h "*) exit "$status" ;; esac
[ "$status" -le 1 ] || exit "$status" # 1: some runs failed; the others are shown

asked="--datasets $(option --datasets all "$@") --seeds $(option --seeds 1,2,3 "$@")"
methods=$(option --methods "$METHODS" "$@")
[ "$methods" = all ] || asked="$asked --methods $methods"
runs=$OUTPUT
case " $* " in *" --grid "*) runs=$OUTPUT/grid asked="$asked --pivot" ;; esac
"$PYTHON" "$REPO_DIR/tools/results.py" "$runs" --protocols base2new,xd $asked
"$PYTHON" "$REPO_DIR/tools/results.py" "$runs" --protocols base2new,xd $asked --format html --out "$OUTPUT/results.html" --figures "$OUTPUT/figures" \
    --title "MPL, arXiv 2502.14125"
say "Page: $OUTPUT/results.html"
exit "$status"
