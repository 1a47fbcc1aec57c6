# Run active learning as in PCB's repository. CoOp learns a context for each class, or, with MODE AS or AE, for each class
# description. Class descriptions are read from descriptors/descriptors_DATASET.json in the current folder, or from
# descriptors_DATASET.json in the folder DESCRIPTORS.
[[ $# -ge 5 ]] || usage "DATASET CONFIG METHOD SEED MODE [KEY VALUE ...]   e.g. eurosat vit_b16 badge 1 none"
dataset=$(data_set "$1")
acquisition=$3 seed=$4 mode=$5
config=$(config_of "$TRAINER" "$2") CFG=$(basename "$2" .yaml)
shift 5
phrases=$dataset.json
if [[ -n ${DESCRIPTORS:-} ]]; then phrases=$(from "$PWD" "$DESCRIPTORS")/descriptors_$phrases; fi
case $mode in
  none) described=() ;;
  AS | AE) described=("TRAINER.COOPAL.${mode}PATH" "$phrases") ;;
  *)
    echo "error: $SCRIPT: MODE is '$mode', but only none, AS and AE are supported." >&2
    exit 2
    ;;
esac
run_once "$OUT/$dataset/$TRAINER/${CFG}_-1shots/nctx16_cscTrue_ctpend_al${acquisition}_mode$mode/seed$seed" \
  TRAINER.COOP.N_CTX 16 TRAINER.COOP.CSC True TRAINER.COOP.CLASS_TOKEN_POSITION end DATASET.NUM_SHOTS -1 \
  TRAINER.COOPAL.METHOD "$acquisition" TRAINER.COOPAL.GAMMA 0.1 ${described[@]+"${described[@]}"} "$@"
