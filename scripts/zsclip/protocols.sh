# The launchers of a method that is not trained: each tests on some classes of a dataset. Sourced by settings.sh.
# The CFG of zeroshot.sh is rn50, rn101, vit_b32, vit_b16, vit_l14, vit_l14_336 or tiny_shapes.

# zeroshot_dir CLASSES: prints the folder of the test on all, base or new
zeroshot_dir() {
    local dir=$OUTPUT/$TRAINER/$RUN_CFG/$DATASET
    if [ "$1" = all ]; then printf '%s' "$dir"; else printf '%s' "$dir/$1"; fi
}

zeroshot_on() { # CLASSES
    local run_dir
    run_dir=$(zeroshot_dir "$1")
    if plan "$run_dir"; then return; fi
    ready_to_run "$run_dir" || return 0
    launch "$run_dir" --eval-only DATASET.SUBSAMPLE_CLASSES "$1"
}

# zeroshot_arguments ARGUMENT…: takes DATASET [SEED]
zeroshot_arguments() {
    read_arguments 1 2 "$@"
    DATASET=${POSITIONAL[0]}
    check_dataset "$DATASET"
    check_number SEED "${POSITIONAL[1]:-1}"
    choose_cfg "$DATASET" "$DEFAULT_CFG"
    setup_python
}

protocol_zeroshot() {
    read_arguments 2 3 "$@"
    local classes=${POSITIONAL[2]:-all}
    DATASET=${POSITIONAL[0]} CFG=${POSITIONAL[1]}
    check_dataset "$DATASET"
    choose_cfg "$DATASET" "$CFG"
    case "$classes" in all | base | new) ;; *) fail "the classes must be all, base or new; received '$classes'; usage: $USAGE" ;; esac
    setup_python
    zeroshot_on "$classes"
}

protocol_base2new_train() {
    zeroshot_arguments "$@"
    zeroshot_on base
}

protocol_base2new_test() {
    zeroshot_arguments "$@"
    zeroshot_on new
}

protocol_base2new() {
    zeroshot_arguments "$@"
    zeroshot_on base
    zeroshot_on new
    show_base2new "$(zeroshot_dir base)" "$(zeroshot_dir new)"
}

protocol_xd_train() {
    zeroshot_arguments "$@"
    zeroshot_on all
}

protocol_xd_test() { protocol_xd_train "$@"; }

protocol_dg_test() {
    read_arguments 0 1 "$@"
    check_number SEED "${POSITIONAL[0]:-1}"
    choose_cfg imagenetv2 "$DEFAULT_CFG"
    setup_python
    for DATASET in $IMAGENET_VARIANTS; do zeroshot_on all; done
}
