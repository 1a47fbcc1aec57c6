#!/usr/bin/env bash
# Train on all classes of a source data set (imagenet in the papers) with 16 shots (SHOTS).
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
[[ $# -ge 2 ]] || usage "DATASET SEED [EPOCHS] [KEY VALUE ...]"
dataset=$1 seed=$2 epochs=${3:-} shots=${SHOTS:-16}
options=(DATASET.NUM_SHOTS "$shots")
if [[ -n $epochs ]]; then options+=(OPTIM.MAX_EPOCH "$epochs"); fi
run_once "$OUT/crossdataset/$dataset/$TRAINER/${CFG}_${shots}shots/seed$seed" \
  --seed "$seed" --dataset-config-file "configs/datasets/$dataset.yaml" "${options[@]}" "${@:4}"
