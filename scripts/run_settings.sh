# What a run was begun with, beside what its folder's name says. Sourced by launch.sh.
#
# A run's settings.txt holds the settings that a launcher gave it beside its config, marks of its config files, and of a test which training it tested. A
# run that has begun goes on, is tested and is taken for done only with the same settings and files; others need another OUTPUT, or --force.

# whole_path FOLDER KEY VALUE: prints VALUE; where KEY takes a path, and it is relative, from / on, read from FOLDER. A backbone's name is a path if there is
# such a file with a dot in its name, which no published CLIP has
whole_path() {
    local folder
    case "$2" in
        MODEL.INIT_WEIGHTS | DATALOADER.CACHE_DIR | RESUME) folder=$1 ;;
        MODEL.BACKBONE.NAME) case "$3" in *.*) [ ! -f "$1/$3" ] || folder=$1 ;; esac ;;
    esac
    case "${folder:+$3}" in
        '' | None | [/~\"\']*) printf '%s' "$3" ;;
        *) printf '%s/%s' "$(cd "$folder/$(dirname "$3")" 2>/dev/null && pwd || dirname "$folder/$3")" "$(basename "$3")" ;;
    esac
}

# resolve_paths: makes the relative paths of PAIRS whole, as from the folder in which the launcher was started
resolve_paths() {
    local i
    for ((i = 0; i < ${#PAIRS[@]}; i += 2)); do PAIRS[i + 1]=$(whole_path "$START_DIR" "${PAIRS[i]}" "${PAIRS[i + 1]}"); done
}

# with_whole_paths: prints the settings that it reads; relative paths, which runs of before were given, are read from the clone, as train.py reads them
with_whole_paths() {
    local key value
    while read -r key value; do say "$key $(whole_path "$REPO_DIR" "$key" "$value")"; done
}

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
# count; nor do settings of loading and printing, and the epochs, which settings_asked tells
config_mark() {
    [ -f "$REPO_DIR/$1" ] || return 0
    { cat "$REPO_DIR/$1" && echo; } | LC_ALL=C sed -E -e 's/(^|[[:space:]])#[^"'"'"']*$//' -e 's/^[[:space:]]*#.*//' -e 's/[[:space:]]+$//' \
        -e '/^( *(NUM_WORKERS|CACHE_GIB|CACHE_DIR|PRINT_FREQ|VERBOSE):.*|  MAX_EPOCH: *[0-9]+)$/d' -e '/^$/d' | cksum | awk '{ print $1 "-" $2 }'
}

# config_marks: prints the marks of the config files of DATASET and RUN_CFG, as remarks for settings.txt
config_marks() {
    local file
    for file in "configs/datasets/$DATASET.yaml" "configs/trainers/$CONFIGS/$RUN_CFG.yaml"; do say "# config $(config_mark "$file") $file"; done
}

# check_settings RUN_DIR [AFRESH [LEFT_OUT]]: fails if the run has begun with other settings, those that the pattern LEFT_OUT matches aside, or with config
# files that have changed since; AFRESH says how it is replaced, if not by --force here
check_settings() {
    local asked begun afresh="${2:-add --force to replace it}" left_out="${3:-^$}" hash word mark file
    [ -f "$1/result.json" ] && [ -f "$1/settings.txt" ] || return 0
    is_finished "$1" || left_out="$left_out|^TRAINER\.[A-Z0-9_]*\.PREC " # with which a run may go on, as after numbers that are not finite
    asked=$(settings_asked | grep -Ev "$left_out" | with_whole_paths | tr '\n' ' ') || true
    begun=$(grep -Ev "^#|$left_out" "$1/settings.txt" | with_whole_paths | tr '\n' ' ') || true
    [ "$asked" = "$begun" ] || fail "$1 holds a run with ${begun:-no settings beside its config }(its settings.txt), but ${asked:-none }is asked for;" \
        "set OUTPUT to another folder, give the settings that it was begun with, or $afresh"
    while read -r hash word mark file; do # runs of before have no marks
        [ "$hash $word" != "# config" ] || [ "$mark" = "$(config_mark "$file")" ] ||
            fail "the config file $file has changed since the run in $1 was begun, whose settings are in its result.json;" \
                "set OUTPUT to another folder, put the file back as it was, or $afresh"
    done <"$1/settings.txt"
}
