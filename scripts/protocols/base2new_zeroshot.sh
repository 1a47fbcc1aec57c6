#!/usr/bin/env bash
# Test a method that trains nothing on the base and on the new classes.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
[[ $# -ge 2 ]] || usage "DATASET SEED [KEY VALUE ...]"
dataset=$1 seed=$2 shots=${SHOTS:-16}
for half in base new; do
  (run_once "$OUT/base2new/test_$half/$dataset/shots_$shots/$TRAINER/$CFG/seed$seed" \
    --seed "$seed" --dataset-config-file "configs/datasets/$dataset.yaml" --eval-only \
    DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES "$half" "${@:3}")
done
