# Cross-dataset transfer and domain generalisation (CoCoOp, arXiv 2203.05557, sections 4.2 and 4.3) for any method: train on all classes of one
# dataset, ImageNet in the papers, test on another, for domain generalisation on the four variants of ImageNet.
# Sourced by launch.sh. SOURCE, of the environment, is the dataset that was trained on, if not imagenet.

IMAGENET_VARIANTS="imagenetv2 imagenet_sketch imagenet_a imagenet_r"

# train_dir_of SOURCE: prints the folder of the run that is trained on it
train_dir_of() { printf '%s' "$OUTPUT/crossdataset/$1/$TRAINER/${RUN_CFG}_${SHOTS}shots/seed$SEED"; }

protocol_xd_train() {
    read_arguments 2 2 "$@"
    DATASET=${POSITIONAL[0]}
    SEED=${POSITIONAL[1]}
    check_dataset "$DATASET"
    check_number SEED "$SEED"
    check_number SHOTS "$SHOTS"
    choose_cfg "$DATASET" "$XD_CFG"
    setup_python
    train_run "$(train_dir_of "$DATASET")" DATASET.NUM_SHOTS "$SHOTS"
}

# test_on SEED DATASET…: tests on each dataset what is trained on the source
test_on() {
    local source=${SOURCE:-imagenet} train_dir
    SEED=$1
    shift
    check_number SEED "$SEED"
    check_dataset "$source"
    for DATASET in "$@"; do check_dataset "$DATASET"; done
    choose_cfg "$source" "$XD_CFG"
    train_dir=$(train_dir_of "$source")
    need_training "$train_dir" "$(variables)bash scripts/$METHOD/xd_train.sh $source $SEED" '^DATASET\.'
    setup_python
    for DATASET in "$@"; do
        test_run "$OUTPUT/crossdataset/evaluation/$DATASET/$TRAINER/${RUN_CFG}_${SHOTS}shots/seed$SEED" "$train_dir"
    done
}

protocol_xd_test() {
    read_arguments 2 2 "$@"
    test_on "${POSITIONAL[1]}" "${POSITIONAL[0]}"
}

protocol_dg_test() {
    read_arguments 1 1 "$@"
    test_on "${POSITIONAL[0]}" $IMAGENET_VARIANTS
}
