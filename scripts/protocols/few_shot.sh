# Train and test on all classes of a data set with a number of shots.
arguments "DATASET SEED [SHOTS] [KEY VALUE ...]" "$@"
shots=${number:-16}
run_once "$OUT/$dataset/$TRAINER/eval/${CFG}_${shots}shots/seed$seed" DATASET.NUM_SHOTS "$shots" ${options[@]+"${options[@]}"}
