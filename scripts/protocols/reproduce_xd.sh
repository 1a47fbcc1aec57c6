# Test published checkpoints of cross-data-set runs on a data set. The checkpoints are the files
# WEIGHTS/seed<SEED>/<model>/model.pth.tar-<epoch>.
[[ $# -ge 3 ]] || usage "DATASET SEED WEIGHTS [EPOCHS] [KEY VALUE ...]"
weights=$(from "$PWD" "$3")
arguments "DATASET SEED WEIGHTS [EPOCHS] [KEY VALUE ...]" "$1" "$2" "${@:4}"
MODEL=$weights/seed$seed
evaluate_once "$OUT/crossdataset/evaluation/$dataset/$TRAINER/${CFG}_${SHOTS:-16}shots/seed$seed" ${options[@]+"${options[@]}"}
