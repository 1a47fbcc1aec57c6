# Test a cross-data-set run (trained on SOURCE, imagenet by default) on all classes of another data set.
arguments "DATASET SEED [EPOCHS] [KEY VALUE ...]" "$@"
run=$TRAINER/${CFG}_${SHOTS:-16}shots/seed$seed
MODEL=$OUT/crossdataset/${SOURCE:-imagenet}/$run
test_once "$OUT/crossdataset/evaluation/$dataset/$run" ${options[@]+"${options[@]}"}
