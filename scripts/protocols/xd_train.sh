# Train on all classes of a source data set (imagenet in the papers) with 16 shots (set SHOTS to change).
if [[ ${1-} =~ ^[0-9]+$ ]]; then set -- imagenet "$@"; fi # SEED alone, as MMA's repository has it
arguments "DATASET SEED [EPOCHS] [KEY VALUE ...]" "$@"
shots=${SHOTS:-16}
train_once "$OUT/crossdataset/$dataset/$TRAINER/${CFG}_${shots}shots/seed$seed" \
  DATASET.NUM_SHOTS "$shots"
