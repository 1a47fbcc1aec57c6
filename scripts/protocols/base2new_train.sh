# Train and test on the base classes with 16 shots (set SHOTS to change).
arguments "DATASET SEED [EPOCHS] [KEY VALUE ...]" "$@"
shots=${SHOTS:-16}
train_once "$OUT/base2new/train_base/$dataset/shots_$shots/$TRAINER/$CFG/seed$seed" \
  DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES base
