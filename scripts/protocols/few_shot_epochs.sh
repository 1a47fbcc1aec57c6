# Train and test on all classes of a data set with 16 shots (SHOTS), for a number of epochs.
arguments "DATASET SEED [EPOCHS] [KEY VALUE ...]" "$@"
shots=${SHOTS:-16}
run_once "$OUT/$dataset/$TRAINER/eval/${CFG}_${shots}shots/seed$seed" \
  DATASET.NUM_SHOTS "$shots" ${number:+OPTIM.MAX_EPOCH "$number"} ${options[@]+"${options[@]}"}
