#!/usr/bin/env bash
# Zero-shot CLIP and MPL with the embedded model on the handwritten digits, seeds 1 2 3, then table and figure.
# Usage: scripts/mpl/demo.sh   (DATA, OUT and PYTHON as in scripts/common.sh)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
OUT=${OUT:-$here/../../output/demo}
export OUT
case ${PYTHON:=python} in */*) PYTHON=$(cd "$(dirname "$PYTHON")" && pwd)/$(basename "$PYTHON") ;; esac
export PYTHON
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
for seed in 1 2 3; do
  CFG=glyph bash "$here/../zsclip/base2new.sh" digits "$seed"
  CFG=glyph_b4_c1_add2_rm1 bash "$here/base2new_train.sh" digits "$seed"
  CFG=glyph_b4_c1_add2_rm1 bash "$here/base2new_test.sh" digits "$seed"
done
cd "$here/../.."
"$PYTHON" -m tools.result_table "$OUT"
