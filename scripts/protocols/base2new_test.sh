#!/usr/bin/env bash
# Test a base-to-new run on the new classes; without EPOCHS, its last checkpoint.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
[[ $# -ge 2 ]] || usage "DATASET SEED [EPOCHS] [KEY VALUE ...]"
dataset=$1 seed=$2 epochs=${3:-} shots=${SHOTS:-16}
run=$dataset/shots_$shots/$TRAINER/$CFG/seed$seed
epoch=()
if [[ -n $epochs ]]; then epoch=(--load-epoch "$epochs"); fi
run_once "$OUT/base2new/test_new/$run" \
  --seed "$seed" --dataset-config-file "configs/datasets/$dataset.yaml" \
  --eval-only --model-dir "$OUT/base2new/train_base/$run" "${epoch[@]}" \
  DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES new "${@:4}"
