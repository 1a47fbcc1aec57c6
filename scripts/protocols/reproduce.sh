# Test published base-to-new checkpoints, WEIGHTS/base/seed<SEED>/<model>/model.pth.tar-<epoch>, on base and new classes.
[[ $# -ge 3 ]] || usage "DATASET SEED WEIGHTS [EPOCHS] [KEY VALUE ...]"
weights=$(from "$PWD" "$3")
arguments "DATASET SEED WEIGHTS [EPOCHS] [KEY VALUE ...]" "$1" "$2" "${@:4}"
shots=${SHOTS:-16}
for half in base new; do
  MODEL=$weights/base/seed$seed
  evaluate_once "$OUT/base2new/test_$half/$dataset/shots_$shots/$TRAINER/$CFG/seed$seed" \
    DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES "$half" ${options[@]+"${options[@]}"}
done
