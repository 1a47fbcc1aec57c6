# Test published checkpoints of a cross-data-set run, WEIGHTS/seed<SEED>/<model>/model.pth.tar-<epoch>, on a data set.
[[ $# -ge 3 ]] || usage "DATASET SEED WEIGHTS [EPOCHS] [KEY VALUE ...]"
weights=$(from "$PWD" "$3")
arguments "DATASET SEED WEIGHTS [EPOCHS] [KEY VALUE ...]" "$1" "$2" "${@:4}"
MODEL=$weights/seed$seed
evaluate_once "$OUT/crossdataset/evaluation/$dataset/$TRAINER/${CFG}_${SHOTS:-16}shots/seed$seed" ${options[@]+"${options[@]}"}
