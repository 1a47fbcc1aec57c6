#!/usr/bin/env bash
# Train and test on all classes of a data set with a number of shots.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
[[ $# -ge 2 ]] || usage "DATASET SEED [SHOTS] [KEY VALUE ...]"
dataset=$1 seed=$2 shots=${3:-16}
run_once "$OUT/$dataset/$TRAINER/eval/${CFG}_${shots}shots/seed$seed" \
  --seed "$seed" --dataset-config-file "configs/datasets/$dataset.yaml" DATASET.NUM_SHOTS "$shots" "${@:4}"
