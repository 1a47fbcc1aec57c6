# Test contexts that main.sh learned on SOURCE (default: imagenet) on another data set. The contexts must have 16 tokens at
# the position end, shared by all classes.
[[ $# -ge 2 ]] || usage "DATASET CONFIG [KEY VALUE ...]   e.g. imagenetv2 rn50_ep50   The environment variable SOURCE is the training data set (default: imagenet)."
dataset=$(data_set "$1")
CFG=$2 config=$project/configs/trainers/$TRAINER/$2.yaml
source=$(data_set "${SOURCE:-imagenet}")
shift 2
run=$TRAINER/${CFG}_${SHOTS:-16}shots/nctx16_cscFalse_ctpend
for seed in 1 2 3; do
  MODEL=$OUT/$source/$run/seed$seed number=
  test_once "$OUT/evaluation/$run/$dataset/seed$seed" \
    "$(node).N_CTX" 16 "$(node).CSC" False "$(node).CLASS_TOKEN_POSITION" end "$@"
done
