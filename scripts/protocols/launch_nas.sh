# Search for a schedule on all classes, as in DPL's repository. OUTPUT is the output folder of the run.
[[ $# -ge 4 ]] || usage "DATASET OUTPUT SEED SHOTS [KEY VALUE ...]   e.g. EuroSAT output/eurosat_nas 1 16"
dataset=$(data_set "$1")
seed=$3 output=$(from "$PWD" "$2") shots=$4
shift 4
run_once "$output" DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES all "$@"
