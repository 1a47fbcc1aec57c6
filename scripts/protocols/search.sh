# Search for a schedule on the base classes with 16 shots (set SHOTS to change), without the training that follows the
# search in base2new_train.sh.
arguments "DATASET SEED [KEY VALUE ...]" "$@"
[[ -z $number ]] || usage "DATASET SEED [KEY VALUE ...]"
shots=${SHOTS:-16}
search_once "$OUT/base2new/train_base/$dataset/shots_$shots/$TRAINER/$CFG/seed$seed" \
  DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES base
