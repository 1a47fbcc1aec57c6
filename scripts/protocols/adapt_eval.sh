# Test the heads that adapt.sh trained on the data set SOURCE on the classes of the data set TARGET.
[[ $# -ge 8 ]] || usage "GPU SOURCE TARGET CONFIG SHOTS INIT CONSTRAINT BACKBONE [KEY VALUE ...]   e.g. 0 imagenet imagenet_a SGD_lr1e-1_B256_ep300 16 ZS l2 RN50"
export CUDA_VISIBLE_DEVICES=$1
source=$(data_set "$2") dataset=$(data_set "$3")
config=$(config_of "$TRAINER" "$4") CFG=$(basename "$4" .yaml)
shots=$5 init=$6 constraint=$7 backbone=$8
shift 8
run=$TRAINER/${CFG}_${init}Init_${constraint}Constraint_${shots}shots/${backbone//\//-}
for seed in 1 2 3; do
  MODEL=$OUT/$source/$run/seed$seed number=
  test_once "$OUT/evaluation/$run/$dataset/seed$seed" \
    DATASET.NUM_SHOTS "$shots" TRAINER.ADAPTER.INIT "$init" TRAINER.ADAPTER.CONSTRAINT "$constraint" \
    MODEL.BACKBONE.NAME "$backbone" "$@"
done
