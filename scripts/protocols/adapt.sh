# Train few-shot heads as in CLAP's repository, on all classes and with the seeds 1, 2 and 3. INIT selects the head, and
# CONSTRAINT the regularisation.
[[ $# -ge 7 ]] || usage "GPU DATASET CONFIG SHOTS INIT CONSTRAINT BACKBONE [KEY VALUE ...]   e.g. 0 eurosat SGD_lr1e-1_B256_ep300 16 ZS l2 RN50"
export CUDA_VISIBLE_DEVICES=$1
dataset=$(data_set "$2")
config=$(config_of "$TRAINER" "$3") CFG=$(basename "$3" .yaml)
shots=$4 init=$5 constraint=$6 backbone=$7
shift 7
for seed in 1 2 3; do
  run_once "$OUT/$dataset/$TRAINER/${CFG}_${init}Init_${constraint}Constraint_${shots}shots/${backbone//\//-}/seed$seed" \
    DATASET.NUM_SHOTS "$shots" TRAINER.ADAPTER.INIT "$init" TRAINER.ADAPTER.CONSTRAINT "$constraint" \
    MODEL.BACKBONE.NAME "$backbone" "$@"
done
