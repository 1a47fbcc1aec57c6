# Train and test on all classes of a data set for EPOCHS epochs, with 16 shots (set SHOTS to change).
arguments "DATASET SEED [EPOCHS] [KEY VALUE ...]" "$@"
shots=${SHOTS:-16}
run_once "$OUT/$dataset/$TRAINER/eval/${CFG}_${shots}shots/seed$seed" \
  DATASET.NUM_SHOTS "$shots" ${number:+OPTIM.MAX_EPOCH "$number"} ${options[@]+"${options[@]}"}
