# What a run was begun with, beside what its folder's name says. Sourced by launch.sh.
#
# A run's settings.txt holds the settings that a launcher gave it beside its config, marks of its config files, and of a test which training it tested. A
# run that has begun goes on, is tested and is taken for done only with the same settings and files; others need another OUTPUT, or --force.

# settings_asked: prints the epochs, of the argument or of the config, and the KEY VALUE pairs, but those that change no result, one a line
settings_asked() {
    local i epochs=$EPOCHS
    [ -n "$epochs" ] || epochs=$(sed -n 's/^  MAX_EPOCH: *\([0-9]*\).*/\1/p' "$REPO_DIR/configs/trainers/$CONFIGS/$RUN_CFG.yaml")
    [ -z "$epochs" ] || say "OPTIM.MAX_EPOCH $epochs"
    for ((i = 0; i < ${#PAIRS[@]}; i += 2)); do
        case "${PAIRS[i]}" in
            DATALOADER.NUM_WORKERS | DATALOADER.CACHE_GIB | DATALOADER.CACHE_DIR | SPEED.* | TRAIN.PRINT_FREQ | VERBOSE) ;;
            *) say "${PAIRS[i]} ${PAIRS[i + 1]}" ;;
        esac
    done
}

# config_mark FILE: prints a checksum of what it says, from the clone's folder; nothing if it is not there. Comments, unless a quote stands in them, do not
# count; nor do settings that settings_asked leaves out, and the epochs, which it tells
config_mark() {
    [ -f "$REPO_DIR/$1" ] || return 0
    LC_ALL=C sed -E -e 's/(^|[[:space:]])#[^"'"'"']*$//' -e 's/^[[:space:]]*#.*//' -e 's/[[:space:]]+$//' \
        -e '/^( *(NUM_WORKERS|CACHE_GIB|CACHE_DIR|PRINT_FREQ|VERBOSE):.*|  MAX_EPOCH: *[0-9]+|)$/d' "$REPO_DIR/$1" | cksum | awk '{ print $1 "-" $2 }'
}

# config_marks: prints the marks of the config files of DATASET and RUN_CFG, as remarks for settings.txt
config_marks() {
    local file
    for file in "configs/datasets/$DATASET.yaml" "configs/trainers/$CONFIGS/$RUN_CFG.yaml"; do say "# config $(config_mark "$file") $file"; done
}

# check_settings RUN_DIR [AFRESH [LEFT_OUT]]: fails if the run has begun with other settings, those that the pattern LEFT_OUT matches aside, or with config
# files that have changed since; AFRESH says how it is replaced, if not by --force here
check_settings() {
    local asked begun afresh=${2:-add --force to replace it} hash word mark file
    [ -f "$1/result.json" ] && [ -f "$1/settings.txt" ] || return 0
    asked=$(settings_asked | grep -Ev "${3:-^$}" | tr '\n' ' ') || true
    begun=$(grep -Ev "^#|${3:-^$}" "$1/settings.txt" | tr '\n' ' ') || true
    [ "$asked" = "$begun" ] || fail "$1 holds a run with ${begun:-no settings beside its config }(its settings.txt), but ${asked:-none }is asked for;" \
        "set OUTPUT to another folder, give the settings that it was begun with, or $afresh"
    while read -r hash word mark file; do # runs of before have no marks
        [ "$hash $word" != "# config" ] || [ "$mark" = "$(config_mark "$file")" ] ||
            fail "the config file $file has changed since the run in $1 was begun, whose settings are in its result.json;" \
                "set OUTPUT to another folder, put the file back as it was, or $afresh"
    done <"$1/settings.txt"
}
