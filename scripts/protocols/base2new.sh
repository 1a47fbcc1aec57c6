# Test a method without training on the base classes and on the new classes.
arguments "DATASET SEED [KEY VALUE ...]" "$@"
shots=${SHOTS:-16}
for half in base new; do
  run_once "$OUT/base2new/test_$half/$dataset/shots_$shots/$TRAINER/$CFG/seed$seed" \
    --eval-only DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES "$half" ${options[@]+"${options[@]}"}
done
