# Test a base-to-new run on all classes (base and new). EPOCHS selects the checkpoint (default: the last). The test reuses
# image features that base2new_train.sh and base2new_test.sh stored with TEST.KEEP_FEATURES True.
arguments "DATASET SEED [EPOCHS] [KEY VALUE ...]" "$@"
shots=${SHOTS:-16}
run=$dataset/shots_$shots/$TRAINER/$CFG/seed$seed
MODEL=$OUT/base2new/train_base/$run
test_once "$OUT/base2new/test_all/$run" TEST.FEATURES_OF "$MODEL:$OUT/base2new/test_new/$run" \
  DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES all TEST.BASE_NEW True ${options[@]+"${options[@]}"}
