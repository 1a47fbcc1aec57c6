# Sourced by the protocol scripts: folders, arguments, and running a job once.
#
# DATA    folder of the data sets   (default: data in the project)
# OUT     folder of the results     (default: output in the project)
# PYTHON  the interpreter           (default: python)
set -euo pipefail

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
from() { case $2 in /*) echo "$2" ;; *) echo "$1/$2" ;; esac; } # path $2 as seen from folder $1
if [[ -n ${DATA:-} ]]; then DATA=$(from "$PWD" "$DATA"); else DATA=$project/data; fi
if [[ -n ${OUT:-} ]]; then OUT=$(from "$PWD" "$OUT"); else OUT=$project/output; fi
PYTHON=${PYTHON:-python}
: "${TRAINER:?is set by the scripts of a method, e.g. scripts/mpl/}" "${CFG:?}"

usage() {
  echo "Usage: ${SCRIPT:-$(basename "$0")} $1" >&2
  exit 2
}

# run_once DIR ARGUMENTS...: train.py with output folder DIR, unless its result is there. An unfinished run is resumed.
run_once() {
  local dir=$1
  shift
  if [[ -f $dir/result.json ]]; then
    echo "Finished before: $dir/result.json (delete it to run again)"
    return
  fi
  cd "$project"
  "$PYTHON" train.py --root "$DATA" --trainer "$TRAINER" --output-dir "$dir" \
    --config-file "configs/trainers/$TRAINER/$CFG.yaml" "$@"
}
