# Train and test with few shots as in CoOp's paper, on all classes and with the seeds 1, 2 and 3.
[[ $# -ge 6 ]] || usage "DATASET CONFIG POSITION N_CTX SHOTS CSC [KEY VALUE ...]   e.g. eurosat rn50 end 16 1 False"
dataset=$(data_set "$1")
CFG=$2 config=$project/configs/trainers/$TRAINER/$2.yaml
position=$3 n_ctx=$4 shots=$5 csc=$6
shift 6
for seed in 1 2 3; do
  run_once "$OUT/$dataset/$TRAINER/${CFG}_${shots}shots/nctx${n_ctx}_csc${csc}_ctp${position}/seed$seed" \
    "$(node).N_CTX" "$n_ctx" "$(node).CSC" "$csc" "$(node).CLASS_TOKEN_POSITION" "$position" \
    DATASET.NUM_SHOTS "$shots" "$@"
done
