#!/usr/bin/env bash
# Run what the MPL paper reports, with the methods it is compared with: base-to-new and cross-dataset, seeds 1 to 3:  bash scripts/mpl/reproduce.sh [--plan] [--gpus 0,1,2] [OPTION OF tools/reproduce.py …]
# The paper: arXiv 2502.14125, section 4: base-to-new over 11 datasets, accuracy against training time (its figure 2), transfer from ImageNet to 10 datasets.
# A later option takes the place of one below: --methods MPL runs MPL alone, --datasets shapes the embedded dataset.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
setup_python
export PYTHON
cd "$START_DIR" # paths among the options are given from there
exec "$PYTHON" "$REPO_DIR/tools/reproduce.py" base2new,xd --methods ZeroshotCLIP,CoOp,CoCoOp,MaPLe,MPL --datasets all --seeds 1,2,3 \
    --root "$DATA" --output "$OUTPUT" "$@"
