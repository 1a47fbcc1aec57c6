# Sourced by run.sh: folders, arguments, and running a job once.
#
# DATA    folder of the data sets   (default: data in the project)
# OUT     folder of the results     (default: output in the project)
# PYTHON  the interpreter           (default: python)
# CFG     a config of the method by name, or a file with a slash in its path

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
from() { case $2 in /*) echo "$2" ;; *) echo "$1/$2" ;; esac; } # path $2 as seen from folder $1
if [[ -n ${DATA:-} ]]; then DATA=$(from "$PWD" "$DATA"); else DATA=$project/data; fi
if [[ -n ${OUT:-} ]]; then OUT=$(from "$PWD" "$OUT"); else OUT=$project/output; fi
PYTHON=${PYTHON:-python}
MODEL= number= # set by protocols that evaluate a model, not by the environment
configs=$TRAINER
case $TRAINER in Zeroshot*) configs=CoOp ;; esac # they take their images and backbones from CoOp's files
case $CFG in
  */*) config=$(from "$PWD" "$CFG") CFG=$(basename "$CFG" .yaml) ;;
  *) config=$project/configs/trainers/$configs/$CFG.yaml ;;
esac

usage() {
  echo "Usage: $SCRIPT $1" >&2
  exit 2
}

# arguments USAGE ARGUMENTS...: sets $dataset, $seed, $number (the third argument, if it is a number) and $options
arguments() {
  local text=$1
  shift
  [[ $# -ge 2 ]] || usage "$text"
  dataset=$1 seed=$2 number=
  shift 2
  if [[ ${1-unset} =~ ^[0-9]*$ ]]; then
    number=$1
    shift
  fi
  options=("$@")
}

# run_once DIR ARGUMENTS...: train.py with output folder DIR, unless this very run is finished there (--once); a finished
# run with other settings, CLIP, split or few-shot list is an error. An unfinished run is resumed.
run_once() {
  local dir=$1
  shift
  "$PYTHON" "$project/train.py" --once --root "$DATA" --trainer "$TRAINER" --seed "$seed" --output-dir "$dir" \
    --config-file "$config" \
    --dataset-config-file "$project/configs/datasets/$dataset.yaml" "$@"
}

# test_once DIR ARGUMENTS...: evaluate $MODEL, the output folder of a training run that has finished, into DIR.
# With a number of epochs, the checkpoint of that epoch.
test_once() {
  if [[ -z $number && ! -s $MODEL/result.json ]]; then
    echo "error: the training is not finished: there is no $MODEL/result.json" >&2
    exit 2
  fi
  evaluate_once "$@"
}

# evaluate_once DIR ARGUMENTS...: evaluate $MODEL, any folder of checkpoints, into DIR; of epoch $number if it is set.
evaluate_once() {
  local dir=$1
  shift
  run_once "$dir" --eval-only --model-dir "$MODEL" ${number:+--load-epoch "$number"} "$@"
}
