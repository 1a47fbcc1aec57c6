# Test a run of few_shot.sh or dev_train.sh again. EPOCHS selects the checkpoint (default: the last).
arguments "DATASET SEED [EPOCHS] [KEY VALUE ...]" "$@"
run=${CFG}_${SHOTS:-16}shots/seed$seed
MODEL=$OUT/$dataset/$TRAINER/eval/$run
test_once "$OUT/$dataset/$TRAINER/train/$run" DATASET.NUM_SHOTS "${SHOTS:-16}" ${options[@]+"${options[@]}"}
