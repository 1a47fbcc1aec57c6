# Train and test with few shots as in LP++'s repository, with the seeds 1 to TASKS, and print the mean accuracy. The best
# epoch is selected with as many validation images as training images. The results are marked, because modprompt uses
# min(shots, 4) validation images per class elsewhere (see few_shot.sh). Every task draws from all images.
[[ $# -ge 2 && $2 =~ ^[1-9][0-9]*$ ]] || usage "DATASET SHOTS [TASKS] [KEY VALUE ...]   e.g. eurosat 4 10"
dataset=$(data_set "$1")
shots=$2 tasks=10
shift 2
if [[ ${1-unset} =~ ^[1-9][0-9]*$ ]]; then
  tasks=$1
  shift
fi
folders=()
for ((seed = 1; seed <= tasks; seed++)); do
  folder=$OUT/$dataset/$TRAINER/tasks/${CFG}_${shots}shots/seed$seed
  folders+=("$folder")
  run_once "$folder" DATASET.NUM_SHOTS "$shots" \
    "$(node).BEST_EPOCH_ON" "as many" "$(node).LATEST_BEST" True "$@"
done
PYTHONPATH=$project${PYTHONPATH:+:$PYTHONPATH} "$PYTHON" -m modprompt.experiments.reporting.tasks "${folders[@]}"
