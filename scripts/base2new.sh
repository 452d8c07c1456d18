# Base-to-new generalisation (CoCoOp, arXiv 2203.05557, section 4.1) for any method: train on the base half of the classes, test on both halves.
# Sourced by launch.sh.

# base2new_arguments ARGUMENT…: sets DATASET, SEED, EPOCHS, RUN_CFG, TRAIN_DIR, TEST_DIR
base2new_arguments() {
    read_arguments 2 3 "$@"
    DATASET=${POSITIONAL[0]}
    SEED=${POSITIONAL[1]}
    EPOCHS=${POSITIONAL[2]:-}
    check_dataset "$DATASET"
    check_number SEED "$SEED"
    check_number SHOTS "$SHOTS"
    [ -z "$EPOCHS" ] || check_number EPOCHS "$EPOCHS" 1
    choose_cfg "$DATASET" "$(base2new_cfg "$DATASET")"
    local below="$DATASET/shots_$SHOTS/$TRAINER/$RUN_CFG/seed$SEED"
    TRAIN_DIR=$OUTPUT/base2new/train_base/$below
    TEST_DIR=$OUTPUT/base2new/test_new/$below
}

train_base() { train_run "$TRAIN_DIR" DATASET.NUM_SHOTS "$SHOTS" DATASET.SUBSAMPLE_CLASSES base; }

need_base() { need_training "$TRAIN_DIR" "$(variables)bash scripts/$METHOD/base2new_train.sh $DATASET $SEED${EPOCHS:+ $EPOCHS}"; }

test_new() {
    need_base
    test_run "$TEST_DIR" "$TRAIN_DIR" DATASET.NUM_SHOTS "$SHOTS" DATASET.SUBSAMPLE_CLASSES new
}

# show_base2new BASE_DIR NEW_DIR: prints base, new and H
show_base2new() { only_plan || "$PYTHON" "$REPO_DIR/tools/base2new_result.py" "$1" "$2"; }

protocol_base2new_train() {
    base2new_arguments "$@"
    setup_python
    train_base
}

protocol_base2new_test() {
    base2new_arguments "$@"
    need_base
    setup_python
    test_new
}

protocol_base2new() {
    base2new_arguments "$@"
    case " ${PAIRS[*]-} " in
        *" TEST.NO_TEST "[Tt]*) fail "TEST.NO_TEST True leaves out the test on the base classes, and this command prints base, new and H: leave it out; or give it to" \
            "bash scripts/$METHOD/base2new_train.sh alone, and test the new classes by base2new_test.sh without it" ;;
    esac
    setup_python
    train_base
    test_new
    show_base2new "$TRAIN_DIR" "$TEST_DIR"
}
