#!/usr/bin/env bash
# Test a cross-data-set run (trained on SOURCE, imagenet by default) on all classes of another data set.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
[[ $# -ge 2 ]] || usage "DATASET SEED [EPOCHS] [KEY VALUE ...]"
dataset=$1 seed=$2 epochs=${3:-} shots=${SHOTS:-16} source=${SOURCE:-imagenet}
epoch=()
if [[ -n $epochs ]]; then epoch=(--load-epoch "$epochs"); fi
run_once "$OUT/crossdataset/evaluation/$dataset/$TRAINER/${CFG}_${shots}shots/seed$seed" \
  --seed "$seed" --dataset-config-file "configs/datasets/$dataset.yaml" \
  --eval-only --model-dir "$OUT/crossdataset/$source/$TRAINER/${CFG}_${shots}shots/seed$seed" "${epoch[@]}" "${@:4}"
