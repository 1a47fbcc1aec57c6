#!/usr/bin/env bash
# MPL in this codebase. The script's name says what is run:
#
#   bash scripts/mpl/base2new_train.sh DATASET SEED [KEY VALUE ...]   train on the base classes, 16 shots
#   bash scripts/mpl/base2new_test.sh  DATASET SEED [KEY VALUE ...]   test that run on the new classes
#   bash scripts/mpl/few_shot.sh       DATASET SEED SHOTS [KEY VALUE ...]
#   bash scripts/mpl/xd_train.sh       DATASET SEED [KEY VALUE ...]   train on all classes (imagenet in the papers)
#   bash scripts/mpl/xd_test.sh        DATASET SEED [KEY VALUE ...]   test it on another data set (trained on $SOURCE)
#
# DATA: folder of the data sets (default: data)   OUT: results (default: output)   CFG: config of MPL   PYTHON: python
# A run that was stopped goes on when it is started again.
set -euo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
from() { case $2 in "" | /*) echo "$2" ;; *) echo "$1/$2" ;; esac; } # path $2 as seen from folder $1
DATA=$(from "$PWD" "${DATA:-}") OUT=$(from "$PWD" "${OUT:-}")
cd "$folder/../.."
export MODPROMPT_ONCE=1 # options must agree with what a folder's name states: shots, seed, classes
name=$(basename "${BASH_SOURCE[0]}" .sh)
case $(basename "$folder") in modmpl) TRAINER=ModMPL ;; *) TRAINER=MPL ;; esac
CFG=${CFG:-vit_b4_c1_add2_rm1}
case $name in xd_*) CFG=${CFG%_cross_datasets}_cross_datasets ;; esac
DATA=${DATA:-data} OUT=${OUT:-output} SHOTS=${SHOTS:-16} SOURCE=${SOURCE:-imagenet}

if [[ $# -lt 2 || ($name = few_shot && $# -lt 3) ]]; then
  sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
dataset=$1 seed=$2
shift 2

case $name in base2new_*) protocol=base2new ;; few_shot) protocol=few_shot ;; *) protocol=cross_dataset ;; esac
config=configs/datasets/$dataset.yaml

# what this codebase's train.py asks for beyond the flags below: flags of its own, options, another name for --trainer
asked=$("${PYTHON:-python}" -m modprompt.hosts.program . $TRAINER $protocol "$config")
flags=() options=() named=$TRAINER
while IFS= read -r line; do
  case $line in
    "trainer "*) named=${line#trainer } ;;
    "flag "*) flags+=("${line#flag }") ;;
    "option "*) options+=("${line#option }") ;;
  esac
done <<< "$asked"

run() { # run OUTPUT_DIR MODEL_DIR [KEY VALUE ...]: train, or test what is in MODEL_DIR if that is not empty
  local dir=$1 model=$2
  shift 2
  "${PYTHON:-python}" train.py --root "$DATA" --seed "$seed" --trainer "$named" --output-dir "$dir" \
    --dataset-config-file "$config" --config-file "configs/trainers/$TRAINER/$CFG.yaml" \
    ${model:+--eval-only --model-dir "$model"} ${flags[@]+"${flags[@]}"} ${options[@]+"${options[@]}"} "$@"
}

run=$dataset/shots_$SHOTS/$TRAINER/$CFG/seed$seed
cross=$TRAINER/${CFG}_${SHOTS}shots/seed$seed
case $name in
  base2new_train)
    run "$OUT/base2new/train_base/$run" "" DATASET.NUM_SHOTS "$SHOTS" DATASET.SUBSAMPLE_CLASSES base "$@"
    ;;
  base2new_test)
    run "$OUT/base2new/test_new/$run" "$OUT/base2new/train_base/$run" \
      DATASET.NUM_SHOTS "$SHOTS" DATASET.SUBSAMPLE_CLASSES new "$@"
    ;;
  few_shot)
    SHOTS=$1
    shift
    run "$OUT/$dataset/$TRAINER/eval/${CFG}_${SHOTS}shots/seed$seed" "" DATASET.NUM_SHOTS "$SHOTS" "$@"
    ;;
  xd_train)
    run "$OUT/crossdataset/$dataset/$cross" "" DATASET.NUM_SHOTS "$SHOTS" "$@"
    ;;
  xd_test)
    run "$OUT/crossdataset/evaluation/$dataset/$cross" "$OUT/crossdataset/$SOURCE/$cross" "$@"
    ;;
esac
