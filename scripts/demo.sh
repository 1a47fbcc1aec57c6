#!/usr/bin/env bash
# All methods with the embedded model on the handwritten digits, seeds 1 2 3, then table and figure.
# Usage: scripts/demo.sh   (DATA, OUT and PYTHON as in scripts/common.sh; JOBS runs at a time, 2 by default)
set -euo pipefail
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case ${PYTHON:=python} in */*) PYTHON=$(cd "$(dirname "$PYTHON")" && pwd)/$(basename "$PYTHON") ;; esac
OUT=${OUT:-$scripts/../output/demo}
mkdir -p "$OUT/console"
OUT=$(cd "$OUT" && pwd)
unset TRAINER CFG SHOTS
export scripts PYTHON OUT OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

# one FOLDER CFG SEED: train on the base classes, test on both halves; what it prints goes to a file
one() {
  local console=$OUT/console/$1_$2_seed$3.txt started=$SECONDS
  export CFG=$2
  if [[ $1 = zsclip* ]]; then
    [[ $1 = zsclip ]] || export TRAINER=ZeroshotCLIP2
    bash "$scripts/zsclip/base2new.sh" digits "$3"
  else
    bash "$scripts/$1/base2new_train.sh" digits "$3" && bash "$scripts/$1/base2new_test.sh" digits "$3"
  fi >"$console" 2>&1 || {
    echo "failed: $1 $2 seed $3; the end of $console:" >&2
    tail -n 3 "$console" >&2
    return 1
  }
  echo "done: $1 $2 seed $3 ($((SECONDS - started)) s)"
}
export -f one

rows="zsclip glyph
zsclip2 glyph
coop glyph
cocoop glyph
vpt glyph
language-prompting glyph_language_only
independent-vlp glyph
maple glyph
promptsrc glyph
mpl glyph
mpl glyph_selfreg"
one zsclip glyph 1 # alone: it also writes the digits
for seed in 1 2 3; do
  while read -r row; do echo "$row $seed"; done <<<"$rows"
done | xargs -P "${JOBS:-2}" -L 1 bash -c 'one "$@"' _
cd "$scripts/.."
"$PYTHON" -m tools.result_table "$OUT"
