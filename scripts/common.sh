# Sourced by run.sh. This file sets the folders, parses the arguments and starts each run once. Environment variables:
#
# DATA        the folder that contains the data sets (default: data in the project)
# OUT         the folder for the results (default: output in the project)
# PYTHON      the Python interpreter (default: python)
# CFG         the name of a config of the method, or the path of a config file (with a slash in the path)
# SEARCH_CFG  the config for the search, for methods that search for a schedule before the training

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
from() { case $2 in /*) echo "$2" ;; *) echo "$1/$2" ;; esac; } # path $2 as seen from folder $1
if [[ -n ${DATA:-} ]]; then DATA=$(from "$PWD" "$DATA"); else DATA=$project/data; fi
if [[ -n ${OUT:-} ]]; then OUT=$(from "$PWD" "$OUT"); else OUT=$project/output; fi
PYTHON=${PYTHON:-python}
MODEL= number= # set by protocols that evaluate a model, not by the environment
configs=$TRAINER${BESIDE:+_$BESIDE} # a method with additions beside its prompts has its own files and run folders
case $TRAINER in
  Zeroshot*) configs=CoOp ;; # their images and backbones are in CoOp's files
  TipAdapterF) configs=TipAdapter ;;
esac
config_of() { case $2 in */*) from "$PWD" "$2" ;; *) echo "$project/configs/trainers/$1/$2.yaml" ;; esac; } # FOLDER CFG
config=$(config_of "$configs" "$CFG") CFG=$(basename "$CFG" .yaml)${BESIDE:+-$BESIDE}
if [[ -n $SEARCH ]]; then # a run's folder says which search gave its schedule, as those of experiments do
  search_config=$(config_of "$SEARCH" "$SEARCH_CFG") SEARCH_CFG=$(basename "$SEARCH_CFG" .yaml)
  CFG=$CFG-${SEARCH}_$SEARCH_CFG
fi

usage() {
  echo "Usage: $SCRIPT $1" >&2
  exit 2
}

# arguments USAGE ARGUMENTS...: sets $dataset, $seed, $number (the third argument, if it is a number) and $options. A
# config of the method by name before that number is used as CFG, as in scripts of MMA's repository.
arguments() {
  local text=$1
  shift
  [[ $# -ge 2 ]] || usage "$text"
  dataset=$(data_set "$1")
  seed=$2 number=
  shift 2
  if [[ -z $SEARCH && ${1-} && $1 != */* && -f $(config_of "$configs" "$1") ]]; then
    config=$(config_of "$configs" "$1") CFG=$1${BESIDE:+-$BESIDE}
    shift
  fi
  if [[ ${1-unset} =~ ^[0-9]*$ ]]; then
    number=$1
    shift
  fi
  options=("$@")
}

# data_set NAME: the file in configs/datasets, without its ending, of a data set by this name or its registered one
# (EuroSAT), in any case. Call it as $(data_set ...).
data_set() {
  local file
  shopt -s nocasematch # of this subshell
  for file in "$project"/configs/datasets/*.yaml; do
    if [[ $(basename "$file" .yaml) = "$1" ]] || grep -qixF "  NAME: \"$1\"" "$file"; then
      basename "$file" .yaml
      return
    fi
  done
  PYTHONPATH=$project${PYTHONPATH:+:$PYTHONPATH} "$PYTHON" -m modprompt.data.names "$1"
}

# run_once DIR ARGUMENTS...: train.py with output folder DIR, unless this very run is finished there (--once); a finished
# run with other settings, CLIP, split or few-shot list is an error. An unfinished run is resumed.
run_once() {
  local dir=$1 needed='import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ("torch", "yacs", "yaml"))))'
  shift
  if ! "$PYTHON" -c "$needed" >/dev/null 2>&1; then
    echo "error: The interpreter $PYTHON cannot import PyTorch. Activate the environment, or set PYTHON=/path/to/environment/bin/python." >&2
    exit 2
  fi
  "$PYTHON" "$project/train.py" --once --root "$DATA" --trainer "$TRAINER" --seed "$seed" --output-dir "$dir" \
    --config-file "$config" \
    --dataset-config-file "$project/configs/datasets/$dataset.yaml" "$@"
}

# node: the method's own node of settings
node() { echo "TRAINER.$(tr '[:lower:]' '[:upper:]' <<<"$TRAINER")"; }

# search_of DIR: sets $found, the folder of the search for the training with output folder DIR, and $schedule, the
# options to use its schedule; none for a method that does not search.
search_of() {
  found= schedule=()
  if [[ -n $SEARCH ]]; then
    found=${1#"$OUT"/}
    found=${found/"/$TRAINER/"/"/$SEARCH/"}
    found=$OUT/search/${found/"$CFG"/"$SEARCH_CFG"}
    schedule=("$(node).SCHEDULE_TEXT" "@$found/schedule.json" "$(node).SCHEDULE_VISION" "@$found/schedule.json")
  fi
}

# search_once DIR ARGUMENTS...: the search for the training with output folder DIR, with $options too, unless this very
# search is finished.
search_once() {
  search_of "$1"
  if [[ -n $SEARCH ]]; then
    TRAINER=$SEARCH config=$search_config run_once "$found" "${@:2}" ${options[@]+"${options[@]}"}
  fi
}

# train_once DIR ARGUMENTS...: run_once with $options, for $number epochs if it is set, after the search of the method.
train_once() {
  if [[ ! -f $config ]]; then
    echo "error: The config file $config does not exist. Set CFG to the name of a config or to the path of a file." >&2
    exit 2
  fi
  search_once "$@"
  run_once "$@" ${number:+OPTIM.MAX_EPOCH "$number"} ${options[@]+"${options[@]}"} ${schedule[@]+"${schedule[@]}"}
}

# test_once DIR ARGUMENTS...: evaluate $MODEL, the output folder of a training run that has finished, into DIR.
# With a number of epochs, the checkpoint of that epoch.
test_once() {
  if [[ -z $number && ! -s $MODEL/result.json ]]; then
    echo "error: The training is not finished, because $MODEL/result.json does not exist. Run the training script first." >&2
    exit 2
  fi
  search_of "$MODEL"
  evaluate_once "$@" ${schedule[@]+"${schedule[@]}"}
}

# evaluate_once DIR ARGUMENTS...: evaluate $MODEL, any folder of checkpoints, into DIR; epoch $number if it is set.
evaluate_once() {
  local dir=$1
  shift
  run_once "$dir" --eval-only --model-dir "$MODEL" ${number:+--load-epoch "$number"} "$@"
}
