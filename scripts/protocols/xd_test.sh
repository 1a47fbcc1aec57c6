# Test a cross-data-set run (trained on SOURCE, imagenet by default) on all classes of another data set.
arguments "DATASET SEED [EPOCHS] [KEY VALUE ...]   SOURCE=imagenet in front of it names what was trained on" "$@"
run=$TRAINER/${CFG}_${SHOTS:-16}shots/seed$seed
source=$(data_set "${SOURCE:-imagenet}")
MODEL=$OUT/crossdataset/$source/$run
test_once "$OUT/crossdataset/evaluation/$dataset/$run" ${options[@]+"${options[@]}"}
