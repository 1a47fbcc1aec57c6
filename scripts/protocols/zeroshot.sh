# Test zero-shot CLIP on all classes of a data set. CONFIG is the name of a file in configs/trainers/CoOp, e.g. rn50 or
# vit_b16.
[[ $# -ge 1 ]] || usage "DATASET [CONFIG] [KEY VALUE ...]"
dataset=$(data_set "$1")
seed=1
shift
if [[ $(($# % 2)) -eq 1 ]]; then
  CFG=$1 config=$project/configs/trainers/CoOp/$1.yaml
  shift
fi
run_once "$OUT/$TRAINER/$CFG/$dataset" --eval-only "$@"
