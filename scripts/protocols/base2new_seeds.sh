# Train on the base classes, or test on the new classes, as in ProGrad's repository: with 4 shots (set SHOTS to change) and
# the seeds 1, 2 and 3.
[[ $# -ge 1 ]] || usage "DATASET [KEY VALUE ...]"
dataset=$(data_set "$1") shots=${SHOTS:-4} number=
shift
options=("$@")
for seed in 1 2 3; do
  run=$dataset/shots_$shots/$TRAINER/$CFG/seed$seed
  MODEL=$OUT/base2new/train_base/$run
  case $name in
    *_train_*) train_once "$MODEL" DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES base ;;
    *) test_once "$OUT/base2new/test_new/$run" DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES new "$@" ;;
  esac
done
