# Test published base-to-new checkpoints on the base and on the new classes. The checkpoints are the files
# WEIGHTS/base/seed<SEED>/<model>/model.pth.tar-<epoch>.
[[ $# -ge 3 ]] || usage "DATASET SEED WEIGHTS [EPOCHS] [KEY VALUE ...]"
weights=$(from "$PWD" "$3")
arguments "DATASET SEED WEIGHTS [EPOCHS] [KEY VALUE ...]" "$1" "$2" "${@:4}"
shots=${SHOTS:-16}
for half in base new; do
  MODEL=$weights/base/seed$seed
  evaluate_once "$OUT/base2new/test_$half/$dataset/shots_$shots/$TRAINER/$CFG/seed$seed" \
    DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES "$half" ${options[@]+"${options[@]}"}
done
