# Runs the launcher that sources it. scripts/<method>/<protocol>.sh is three lines, of which the second says what it does and ends with its command,
# which --help shows. The method's settings.sh says what differs from method to method; protocol_<protocol>, in the files below, does the work.
#
# settings.sh gives
#   TRAINER      registered name of the method
#   CONFIGS      folder of its configs in configs/trainers/, if it is not TRAINER
#   MODEL        folder of its checkpoints in a run's folder
#   DEFAULT_CFG  its config, for base-to-new and few-shot
#   XD_CFG       its config for cross-dataset transfer and domain generalisation
# and, where they differ from DEFAULT_CFG, the functions below that choose by dataset and shots.

scripts_dir=$(unset CDPATH && cd "$(dirname "${ZSH_ARGZERO:-$0}")/.." && pwd) # which every shell reads: common.sh says what is wrong if it is not bash
. "$scripts_dir/common.sh"
. "$scripts_dir/run_settings.sh"
. "$scripts_dir/base2new.sh"
. "$scripts_dir/xd.sh"
. "$scripts_dir/few_shot.sh"

base2new_cfg() { printf '%s' "$DEFAULT_CFG"; } # DATASET
few_shot_cfg() { printf '%s' "$DEFAULT_CFG"; } # DATASET SHOTS
few_shot_pairs() { :; }                        # DATASET: prints KEY VALUE pairs for it

# check_trainer GIVEN: fails if TRAINER, of the environment, was given and is not the launcher's
check_trainer() {
    local other=zsclip
    case "$1" in
        '' | "$TRAINER") return ;;
        ZeroshotCLIP | ZeroshotCLIP2) ;;
        *) other=$(cd "$scripts_dir" && grep -lx "TRAINER=$1" */settings.sh) || : ;;
    esac
    other=${other%/settings.sh}
    [ -f "$scripts_dir/$other/$(basename "$0")" ] || other="<method>"
    fail "TRAINER=$1 is in the environment, but the method of scripts/$METHOD is $TRAINER, and no variable changes it:" \
        "run bash scripts/$other/$(basename "$0"), or leave TRAINER out (unset TRAINER)"
}

METHOD=$(basename "$(cd "$(dirname "$0")" && pwd)")
USAGE=$(sed -n '2s/.*:  //p' "$0")
CONFIGS=
trainer_given=${TRAINER:-}
. "$scripts_dir/$METHOD/settings.sh"
CONFIGS=${CONFIGS:-$TRAINER}
check_trainer "$trainer_given"
"protocol_$(basename "$0" .sh)" "$@"
