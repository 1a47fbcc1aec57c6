# Train on all classes, as in DPL's repository. OUTPUT is the output folder of the run.
# DPL's repository swaps the names of its two .npy files. For files with swapped names, add
# TRAINER.TRAINERSUBNET.ALPHAS_SWAPPED True.
[[ $# -ge 6 ]] || usage "DATASET OUTPUT IMAGE_ALPHA_FILE TEXT_ALPHA_FILE SEED SHOTS [KEY VALUE ...]"
dataset=$(data_set "$1")
seed=$5 output=$(from "$PWD" "$2") shots=$6
node=TRAINER.TRAINERSUBNET
alphas=("$node.IMG_ALPHA_PATH" "$(from "$PWD" "$3")" "$node.TXT_ALPHA_PATH" "$(from "$PWD" "$4")")
shift 6
run_once "$output" DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES all "${alphas[@]}" "$@"
