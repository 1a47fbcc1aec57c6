# Train and test on all classes of a data set with SHOTS images per class (default: 16).
text="DATASET SEED [SHOTS] [KEY VALUE ...]"
if [[ $SCRIPT = scripts/promptsrc/* ]]; then # there, as in its repository, DATASET SHOTS is seeds 1 2 3
  text="DATASET SHOTS | DATASET SEED SHOTS [KEY VALUE ...]"
fi
arguments "$text" "$@"
seeds=$seed shots=${number:-16}
if [[ $SCRIPT = scripts/promptsrc/* && -z $number ]]; then seeds="1 2 3" shots=$seed; fi
number= # of shots, not of epochs
for seed in $seeds; do
  train_once "$OUT/$dataset/$TRAINER/eval/${CFG}_${shots}shots/seed$seed" DATASET.NUM_SHOTS "$shots"
done
