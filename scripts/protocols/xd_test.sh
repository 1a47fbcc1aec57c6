# Test a cross-data-set run on all classes of another data set. SOURCE is the training data set (default: imagenet).
arguments "DATASET SEED [EPOCHS] [KEY VALUE ...]   The environment variable SOURCE is the training data set (default: imagenet)." "$@"
run=$TRAINER/${CFG}_${SHOTS:-16}shots/seed$seed
source=$(data_set "${SOURCE:-imagenet}")
MODEL=$OUT/crossdataset/$source/$run
test_once "$OUT/crossdataset/evaluation/$dataset/$run" ${options[@]+"${options[@]}"}
