# Train and test with few shots as in TaskRes's repository, on all classes and with seed 1.
[[ $# -ge 5 ]] || usage "DATASET CONFIG ENHANCED_BASE SHOTS SCALE [KEY VALUE ...]   e.g. eurosat adam_lr2e-3_B256_ep100 none 4 0.5"
dataset=$(data_set "$1")
CFG=$2 config=$project/configs/trainers/$TRAINER/$2.yaml
base=$3 shots=$4 scale=$5
case $base in none | /*) ;; *) base=$(from "$PWD" "$base") ;; esac
seed=1
shift 5
run_once "$OUT/$dataset/$TRAINER/${CFG}_${shots}shots/base_$(basename "$base")_scale$scale/seed1" \
  DATASET.NUM_SHOTS "$shots" TRAINER.TaskRes.ENHANCED_BASE "$base" TRAINER.TaskRes.RESIDUAL_SCALE "$scale" "$@"
