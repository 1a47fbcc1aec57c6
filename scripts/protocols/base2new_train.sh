#!/usr/bin/env bash
# Train on the base classes with 16 shots (SHOTS) and test on them.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
[[ $# -ge 2 ]] || usage "DATASET SEED [EPOCHS] [KEY VALUE ...]"
dataset=$1 seed=$2 epochs=${3:-} shots=${SHOTS:-16}
options=(DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES base)
if [[ -n $epochs ]]; then options+=(OPTIM.MAX_EPOCH "$epochs"); fi
run_once "$OUT/base2new/train_base/$dataset/shots_$shots/$TRAINER/$CFG/seed$seed" \
  --seed "$seed" --dataset-config-file "configs/datasets/$dataset.yaml" "${options[@]}" "${@:4}"
