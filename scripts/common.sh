# What every launcher shares: the environment, the folders, and the rules for finished and unfinished runs.
# Sourced, never run; works on bash 3.2 and later.
#
# Read from the environment, each with its default:
#   DATA    folder of the datasets                  data/ in the clone
#   OUTPUT  folder of the runs                      output/ in the clone
#   SHOTS   training pictures a class               16
#   CFG     name of a file in configs/trainers/<Method>, without .yaml; tiny_shapes for the dataset shapes, else the method's default
#   SOURCE  the dataset that was trained on, for     imagenet
#           xd_test.sh, dg_test.sh and coop/eval.sh
#   PYTHON  the Python to use, with what            the first of python3, python that has it, else .venv in the clone
#           requirements.txt lists
#   AUTO_PREPARE  1: fetch a dataset that is missing, without asking
#   LAUNCH_PLAN  1: run nothing, print what would be run (see plan), for tools/reproduce.py

if [ -z "${BASH_VERSION:-}" ]; then # before anything that another shell cannot read
    echo "Error: this is written for bash, and another shell was asked to run it; run it with bash: bash ${ZSH_ARGZERO:-$0}${*:+ $*}" >&2
    exit 2
fi

set -euo pipefail
unset CDPATH
trap 'exit 143' TERM # where nothing is supervised

REPO_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
START_DIR=$(pwd -P) # where .. of a relative path leads, reached through a link or not

say() { printf '%s\n' "$*"; }
fail() { printf 'Error: %s\n' "$*" >&2; exit 2; }

# absolute PATH: a path given from the folder in which the launcher was started
absolute() { case "$1" in /*) printf '%s' "$1" ;; *) printf '%s' "$START_DIR/$1" ;; esac }

DATA=$(absolute "${DATA:-$REPO_DIR/data}")
OUTPUT=$(absolute "${OUTPUT:-$REPO_DIR/output}")
case "${PYTHON:-}" in */*) PYTHON=$(absolute "$PYTHON") ;; esac
SHOTS_GIVEN=${SHOTS:-}
SHOTS=${SHOTS:-16}
FORCE=0
FRESH=
EPOCHS=
TESTED=
OFFERED=

# has_requirements PYTHON [--tests]: whether that Python has what requirements.txt lists
has_requirements() { command -v "$1" >/dev/null 2>&1 && "$1" "$REPO_DIR/tools/check_requirements.py" ${2:+"$2"} >/dev/null 2>&1; }

# check_given_python [--tests]: fails unless PYTHON has the requirements
check_given_python() {
    local lacking
    command -v "$PYTHON" >/dev/null 2>&1 || fail "PYTHON=$PYTHON cannot be used: there is no such program; name another or leave PYTHON out"
    lacking=$("$PYTHON" "$REPO_DIR/tools/check_requirements.py" ${1:+"$1"} 2>&1) ||
        fail "PYTHON=$PYTHON cannot be used: $lacking
Install requirements.txt there, name another, or leave PYTHON out: a Python that has all is then looked for, else .venv is made"
}

# setup_python [--tests]: sets PYTHON, unless given; installs into .venv in the clone where no Python here has the requirements
setup_python() {
    local candidate venv="$REPO_DIR/.venv"
    if only_plan; then return; fi
    if [ -n "${PYTHON:-}" ]; then
        check_given_python "${1:-}"
        return
    fi
    for candidate in python3 python "$venv/bin/python"; do
        if has_requirements "$candidate" "${1:-}"; then
            PYTHON=$candidate
            return
        fi
    done
    say "Installing requirements.txt into $venv (once; some minutes)"
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || make_venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$REPO_DIR/requirements.txt" ||
        fail "the installation of $REPO_DIR/requirements.txt failed; its messages stand above. Mend the cause and run the same command again"
    PYTHON=$venv/bin/python
}

# make_venv FOLDER: a virtual environment with the first Python here that is new enough, in place of what is there
make_venv() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11 python3.10 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            "$candidate" -m venv --clear "$1" ||
                fail "$candidate cannot make a virtual environment; install its venv package, or set PYTHON to a Python that has requirements.txt"
            return
        fi
    done
    fail "no Python 3.10 or later was found; install one, or set PYTHON to a Python that has requirements.txt"
}

# read_arguments N_MIN N_MAX ARGUMENT…: takes --force out; sets POSITIONAL, and PAIRS for KEY VALUE pairs that follow; shows USAGE on --help
read_arguments() {
    local n_min=$1 n_max=$2 argument
    shift 2
    POSITIONAL=()
    PAIRS=()
    for argument in "$@"; do
        case "${#PAIRS[@]}:$argument" in
            *:--force) FORCE=1 ;;
            *:-h | *:--help) say "usage: $USAGE"; exit 0 ;;
            [1-9]*:* | 0:[A-Z]*.[A-Z]* | 0:OUTPUT_DIR | 0:RESUME | 0:SEED | 0:USE_CUDA | 0:VERBOSE) PAIRS+=("$argument") ;;
            0:-*) fail "unknown option $argument; usage: $USAGE" ;;
            *) POSITIONAL+=("$argument") ;;
        esac
    done
    if [ ${#POSITIONAL[@]} -lt "$n_min" ] || [ ${#POSITIONAL[@]} -gt "$n_max" ]; then
        fail "expected $USAGE; received ${*:-nothing}"
    fi
    if [ $((${#PAIRS[@]} % 2)) = 1 ]; then
        fail "settings are pairs of KEY VALUE; received ${PAIRS[*]}; usage: $USAGE"
    fi
    check_pairs
    resolve_paths
}

# refuse_pair KEY INSTEAD: fails if PAIRS has KEY; VALUE in INSTEAD stands for its value
refuse_pair() {
    local i
    for ((i = 0; i < ${#PAIRS[@]}; i += 2)); do
        [ "${PAIRS[i]}" != "$1" ] || fail "$1 cannot be a pair, since the run's folder would not say so: ${2/VALUE/${PAIRS[i + 1]}}; usage: $USAGE"
    done
}

# check_pairs: fails on a pair for what an argument or a variable says, by which the run's folder is named
check_pairs() {
    local command="bash scripts/$METHOD/$(basename "$0")"
    case "$USAGE" in
        *SHOTS*) refuse_pair DATASET.NUM_SHOTS "give it as the argument SHOTS" ;;
        *) refuse_pair DATASET.NUM_SHOTS "run SHOTS=VALUE $command" ;;
    esac
    case "$USAGE" in
        *"[all|base|new]"*) refuse_pair DATASET.SUBSAMPLE_CLASSES "give the argument all, base or new" ;;
        *) refuse_pair DATASET.SUBSAMPLE_CLASSES "base2new.sh takes base and new, the other launchers all" ;;
    esac
    case "$USAGE" in *EPOCHS*) refuse_pair OPTIM.MAX_EPOCH "give it as the argument EPOCHS" ;; esac
    case "$METHOD" in
        zsclip) refuse_pair TRAINER.NAME "run TRAINER=VALUE $command" ;;
        *) refuse_pair TRAINER.NAME "run the launcher of that method, in scripts/<method>" ;;
    esac
    refuse_pair DATASET.NAME "give it as the argument DATASET"
    refuse_pair DATASET.ROOT "run DATA=VALUE $command"
    refuse_pair OUTPUT_DIR "run OUTPUT=VALUE $command"
    refuse_pair SEED "give it as the argument SEED"
    check_own_folder
}

# check_own_folder: fails if DATASET.FOLDER_PATH among the PAIRS names no folder; said at once, since a run of another folder may stand in the run's place
check_own_folder() {
    local i given path found
    if only_plan; then return; fi
    for ((i = 0; i < ${#PAIRS[@]}; i += 2)); do
        [ "${PAIRS[i]}" = DATASET.FOLDER_PATH ] || continue
        given=${PAIRS[i + 1]}
        case "$given" in "~/"*) path=$HOME/${given#"~/"} ;; /*) path=$given ;; *) path=$DATA/$given ;; esac
        if [ -n "$given" ] && [ -d "$path" ]; then continue; fi
        found=$( (cd "$DATA" && ls -d -- */) 2>/dev/null | head -n 10 | tr -d '\n' | sed 's|/$||; s|/|, |g') || :
        fail "DATASET.FOLDER_PATH is '$given', but $path is no folder; it takes a folder in $DATA (there: ${found:-none}) or an absolute path"
    done
}

# check_number NAME VALUE [LEAST]: no leading zero either, which would name a second folder for the same run
check_number() {
    local least=${3:-0}
    case "$2" in
        '' | *[!0-9]* | 0?*) ;;
        *) if [ "$2" -ge "$least" ]; then return; fi ;;
    esac
    fail "$1 must be a number of $least or more, without leading zeros; received '$2'; usage: $USAGE"
}

# names_in FOLDER: prints the configs there
names_in() { (cd "$REPO_DIR/$1" && ls -- *.yaml) | sed 's/\.yaml$//' | tr '\n' ' '; }

# check_dataset DATASET: it has a config
check_dataset() {
    [ -f "$REPO_DIR/configs/datasets/$1.yaml" ] || fail "unknown dataset '$1'; known: $(names_in configs/datasets)"
}

# choose_cfg DATASET DEFAULT: sets RUN_CFG, the config's name: $CFG, else tiny_shapes for shapes, else DEFAULT
choose_cfg() {
    RUN_CFG=${CFG:-$2}
    if [ -z "${CFG:-}" ] && [ "$1" = shapes ]; then RUN_CFG=tiny_shapes; fi
    [ -f "$REPO_DIR/configs/trainers/$CONFIGS/$RUN_CFG.yaml" ] ||
        fail "there is no config $RUN_CFG of $CONFIGS; known: $(names_in "configs/trainers/$CONFIGS")"
}

is_finished() { [ -f "$1/result.json" ] && grep -q '"finished": true' "$1/result.json"; }

# final_checkpoint TRAIN_DIR: prints the file name of the checkpoint that the training tested itself: with TEST.FINAL_MODEL best_val its best on
# val, else its last; nothing if there is none
final_checkpoint() {
    if grep -q '"FINAL_MODEL": "best_val"' "$1/result.json"; then
        printf '%s' model-best.pth.tar
    else
        head -n 1 "$1/$MODEL/checkpoint" 2>/dev/null || true
    fi
}

# ended RUN_DIR: prints when the finished run ended
ended() { sed -n 's/^ *"ended": "\(.*\)".*/\1/p' "$1/result.json"; }

only_plan() { [ "${LAUNCH_PLAN:-0}" = 1 ]; }

# plan RUN_DIR [TRAIN_DIR]: false, unless LAUNCH_PLAN is 1; it then prints the run's state, its folder, the folder of the training that it tests
# (- for none), its config's path, and why it is refused, with tabs between them. States: finished, unfinished (it would go on), missing, and refused
# (the folder holds a run of other settings)
plan() {
    local state=missing why=
    only_plan || return 1
    if [ "$FORCE" = 1 ] || { is_finished "$1" && [ -n "${2:-}" ] && is_of_older_training "$1" "$2"; }; then
        : # replaced by a run from the start
    elif ! why=$(check_settings "$1" "replace it by bash scripts/$METHOD/$(basename "$0") with --force" 2>&1); then
        state=refused
    elif is_finished "$1" && is_finished "${2:-$1}"; then
        state=finished
    elif [ -f "$1/result.json" ] && ! is_finished "$1"; then
        state=unfinished
    fi
    printf '%s\t%s\t%s\t%s\t%s\n' "$state" "$1" "${2:--}" "configs/trainers/$CONFIGS/$RUN_CFG.yaml" "${why#Error: }"
}

# ready_to_run RUN_DIR: false if the run is finished, which is said; an unfinished one is said to go on; sets FRESH for one that is to be replaced, which
# train.py does, when it holds the folder
ready_to_run() {
    FRESH=
    if [ "$FORCE" = 1 ]; then
        FRESH=--fresh
        return
    fi
    check_settings "$1"
    if is_finished "$1"; then
        say "Results are there: $1 (--force runs it afresh)"
        return 1
    elif [ -f "$1/result.json" ]; then
        say "Unfinished run: going on in $1"
    fi
}

# source_fact KEY: prints what the table of sources has for DATASET under folder or needs; nothing for a dataset that is not fetched
source_fact() {
    awk -v name="$DATASET:" -v key="$1:" '/^[^ #]/ { inside = ($1 == name) } inside && /^  [a-z]/ && $1 == key { sub(/^[^:]*: */, ""); print; exit }' \
        "$REPO_DIR/preparation/sources.yaml"
}

# lacks_dataset: whether something that DATASET needs is not in DATA
lacks_dataset() {
    local folder need
    folder=$(source_fact folder)
    [ -n "$folder" ] || return 1
    for need in $(source_fact needs | tr -d '[]"' | tr ',' ' '); do
        [ -e "$DATA/$folder/$need" ] && continue
        [ "$need" = classnames.txt ] && [ -e "$DATA/imagenet/$need" ] || return 0 # ImageNet's serve its variants
    done
    return 1
}

# offer_dataset: fetches DATASET if it is missing, with AUTO_PREPARE=1 or after a yes on a terminal; else train.py says which command does
offer_dataset() {
    local answer=
    case " $OFFERED " in *" $DATASET "*) return 0 ;; esac
    OFFERED="$OFFERED $DATASET"
    case " ${PAIRS[*]-} " in *" DATASET.MAKE_SPLIT "[Tt]*) return 0 ;; esac
    lacks_dataset || return 0
    if [ "${AUTO_PREPARE:-}" = 1 ]; then
        answer=yes
    elif [ -t 0 ] && [ -t 1 ]; then
        printf '%s is not in %s, or not all of it. Fetch it now? [y/N] ' "$DATASET" "$DATA"
        read -r answer || say
    fi
    case "$answer" in
        y | Y | yes | Yes | YES)
            supervise "$REPO_DIR" "$PYTHON" tools/prepare.py "$DATASET" --root "$DATA" ||
                fail "$DATASET is not ready; the reasons stand above. The command to run again: python tools/prepare.py $DATASET --root $DATA"
            ;;
    esac
}

# pass_on STATUS: tells the supervised process that this shell got a signal; by SIGUSR1, which train.py, sweeps and prepare.py know from their beginning and
# take for no second one where they got the signal too
pass_on() {
    SIGNAL_STATUS=$1 WAS_SIGNALLED=1
    [ -z "$CHILD" ] || kill -USR1 "$CHILD" 2>/dev/null || :
}

# supervise FOLDER COMMAND…: runs it there, passes SIGTERM and Ctrl-C on to it, and waits until it has saved and ended: a scheduler kills what is left when
# the launcher is gone. Gives its status, but ends the launcher after a signal.
supervise() {
    local status=127 found
    SIGNAL_STATUS= CHILD=
    trap 'pass_on 143' TERM
    trap 'pass_on 130' INT
    (trap - INT TERM; cd "$1" && shift && exec "$@") <&0 & # Ctrl-C reaches it, although it runs in the background
    CHILD=$!
    [ -z "$SIGNAL_STATUS" ] || pass_on "$SIGNAL_STATUS" # it came before there was a process
    while :; do
        WAS_SIGNALLED=
        found=0
        wait "$CHILD" || found=$?
        [ "$found" = 127 ] || status=$found # 127: it had been waited for
        [ -n "$WAS_SIGNALLED" ] || break    # else the signal ended the waiting, and not the process
    done
    trap - INT
    trap 'exit 143' TERM
    [ -z "$SIGNAL_STATUS" ] || exit "$SIGNAL_STATUS"
    return "$status"
}

# launch RUN_DIR [FLAG…] [KEY VALUE…]: one call of train.py for TRAINER, RUN_CFG, DATASET, SEED, EPOCHS, PAIRS and FRESH, which writes settings.txt
launch() {
    local run_dir=$1 settings
    shift
    offer_dataset
    settings=$(settings_asked; config_marks; [ -z "$TESTED" ] || say "# tests the training that ended $TESTED")
    supervise "$REPO_DIR" env LAUNCH_SETTINGS="$settings" "$PYTHON" train.py \
        --root "$DATA" --seed "$SEED" --trainer "$TRAINER" \
        --dataset-config-file "configs/datasets/$DATASET.yaml" \
        --config-file "configs/trainers/$CONFIGS/$RUN_CFG.yaml" \
        --output-dir "$run_dir" $FRESH "$@" ${EPOCHS:+OPTIM.MAX_EPOCH "$EPOCHS"} ${PAIRS[@]+"${PAIRS[@]}"}
}

# train_run RUN_DIR [KEY VALUE…]: trains, unless the run is finished
train_run() {
    if plan "$1"; then return; fi
    ready_to_run "$1" || return 0
    launch "$@"
}

# variables: prints SHOTS and CFG as they were given, as they stand before a command
variables() { printf '%s' "${SHOTS_GIVEN:+SHOTS=$SHOTS_GIVEN }${CFG:+CFG=$CFG }"; }

# need_training TRAIN_DIR COMMAND [LEFT_OUT]: fails unless a finished training of these settings is there; COMMAND is what to run first, with
# PAIRS but those that the pattern LEFT_OUT matches
need_training() {
    local file i command=$2
    for ((i = 0; i < ${#PAIRS[@]}; i += 2)); do
        printf '%s' "${PAIRS[i]}" | grep -Eq "${3:-^$}" || command+=$(printf ' %q %q' "${PAIRS[i]}" "${PAIRS[i + 1]}")
    done
    if only_plan; then return; fi
    is_finished "$1" ||
        fail "there is no finished training in $1; run first: $command${3:+; or, if it was trained on another dataset, name that: SOURCE=NAME bash scripts/$METHOD/$(basename "$0") …}"
    check_settings "$1" "train it afresh by $command --force" "^TEST\.NO_TEST${3:+|$3}"
    file=$(final_checkpoint "$1")
    [ -n "$file" ] || fail "the training is finished, but there is no checkpoint in $1/$MODEL; put it back, or train afresh: $command --force"
    [ -f "$1/$MODEL/$file" ] || fail "the training is finished, but there is no $1/$MODEL/$file; put it back, or train afresh: $command --force" \
        "(a training with TEST.NO_TEST True keeps no model-best.pth.tar)"
}

# is_of_older_training RUN_DIR TRAIN_DIR: whether a finished test is of a training that has been replaced since
is_of_older_training() {
    local tested
    tested=$(sed -n 's/^# tests the training that ended //p' "$1/settings.txt" 2>/dev/null) || true
    if [ -n "$tested" ]; then
        [ "$tested" != "$(ended "$2" 2>/dev/null)" ]
    else
        [ "$2/result.json" -nt "$1/result.json" ]
    fi
}

# test_run RUN_DIR TRAIN_DIR [KEY VALUE…]: tests the checkpoint that the training tested itself, unless the test is there and of this training
test_run() {
    local run_dir=$1 train_dir=$2 file
    shift 2
    if plan "$run_dir" "$train_dir"; then return; fi
    if is_finished "$run_dir" && is_of_older_training "$run_dir" "$train_dir"; then
        say "Testing again, since the training is newer than the test: $run_dir"
        FRESH=--fresh
    else
        ready_to_run "$run_dir" || return 0
    fi
    file=$(final_checkpoint "$train_dir")
    case "$file" in
        model.pth.tar-*) set -- --load-epoch "${file#model.pth.tar-}" --eval-only "$@" ;;
        *) set -- --eval-only "$@" ;; # without an epoch, train.py loads the best on val
    esac
    TESTED=$(ended "$train_dir")
    launch "$run_dir" --model-dir "$train_dir" "$@"
}
