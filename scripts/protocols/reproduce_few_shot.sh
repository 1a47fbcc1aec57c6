# Test published few-shot checkpoints with the seeds 1, 2 and 3. The checkpoints are the files
# WEIGHTS/<SHOTS>shot/seed<SEED>/<model>/model.pth.tar-<epoch>.
[[ $# -ge 3 ]] || usage "DATASET SHOTS WEIGHTS [EPOCHS] [KEY VALUE ...]"
weights=$(from "$PWD" "$3")
arguments "DATASET SHOTS WEIGHTS [EPOCHS] [KEY VALUE ...]" "$1" "$2" "${@:4}"
shots=$seed
for seed in 1 2 3; do
  MODEL=$weights/${shots}shot/seed$seed
  evaluate_once "$OUT/few_shot/$dataset/$TRAINER/${CFG}_${shots}shots/seed$seed" \
    DATASET.NUM_SHOTS "$shots" ${options[@]+"${options[@]}"}
done
