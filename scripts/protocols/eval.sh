# Test contexts that main.sh learned on imagenet (16 N_CTX, position end, one context for all classes) on another data set.
[[ $# -ge 2 ]] || usage "DATASET CONFIG [KEY VALUE ...]   e.g. imagenetv2 rn50_ep50; SOURCE=imagenet before it names the training's data set"
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
