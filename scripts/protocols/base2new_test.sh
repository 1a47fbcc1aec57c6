# Test a base-to-new run on the new classes. EPOCHS selects the checkpoint (default: the last).
arguments "DATASET SEED [EPOCHS] [KEY VALUE ...]" "$@"
shots=${SHOTS:-16}
run=$dataset/shots_$shots/$TRAINER/$CFG/seed$seed
MODEL=$OUT/base2new/train_base/$run
test_once "$OUT/base2new/test_new/$run" DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES new ${options[@]+"${options[@]}"}
