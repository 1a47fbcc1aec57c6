# Test a cross-data-set run (trained on SOURCE, imagenet by default) on all classes of another data set.
arguments "DATASET SEED [EPOCHS] [KEY VALUE ...]   SOURCE=imagenet before it names the training's data set" "$@"
run=$TRAINER/${CFG}_${SHOTS:-16}shots/seed$seed
source=$(data_set "${SOURCE:-imagenet}")
MODEL=$OUT/crossdataset/$source/$run
test_once "$OUT/crossdataset/evaluation/$dataset/$run" ${options[@]+"${options[@]}"}
