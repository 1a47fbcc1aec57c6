# Run MMRL or MMRL++ as in the scripts of the MMRL repository. Each script runs the seeds 1, 2 and 3 (set SEEDS to change).
# Base-to-new and cross-data-set runs use 16 shots, few-shot runs 1, 2, 4, 8 and 16 shots (set SHOTS to change). The
# hyperparameters of each data set and the rule for combining logits are those of the repository; KEY VALUE arguments
# override them.
if [[ $name = cross_datasets_train ]]; then
  dataset=imagenet
else
  [[ $# -ge 1 ]] || usage "DATASET [KEY VALUE ...]"
  dataset=$(data_set "$1")
  shift
fi
options=("$@") number=
if [[ -z $CFG ]]; then
  case $name/$dataset in
    cross_datasets_*) CFG=vit_b16_cross_datasets ;;
    */imagenet) CFG=vit_b16_imagenet ;;
    few_shot/*) CFG=vit_b16_few_shot ;;
    *) CFG=vit_b16 ;;
  esac
  config=$(config_of "$configs" "$CFG")
fi
task() { echo "TASK $1 TRAINER.$TRAINER.PER_DATASET published"; } # words of a run
run_of() { echo "$1/shots_$shots/$TRAINER/$CFG/seed$seed"; }      # DATASET: a run's folder
shots=${SHOTS:-16}
for seed in ${SEEDS:-1 2 3}; do
  new=$OUT/base2new/test_new/$(run_of "$dataset")
  case $name in
    base2new_train)
      train_once "$OUT/base2new/train_base/$(run_of "$dataset")" DATASET.NUM_SHOTS "$shots" \
        DATASET.SUBSAMPLE_CLASSES base $(task B2N)
      ;;
    base2new_test)
      MODEL=$OUT/base2new/train_base/$(run_of "$dataset")
      test_once "$new" DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES new $(task B2N) "$@"
      ;;
    few_shot)
      for shots in ${SHOTS:-1 2 4 8 16}; do
        train_once "$OUT/few_shot/$(run_of "$dataset")" DATASET.NUM_SHOTS "$shots" $(task FS)
      done
      ;;
    cross_datasets_train)
      weight=() # there on the command line, over its own table
      if [[ $TRAINER = MMRL ]]; then weight=(TRAINER.MMRL.REG_WEIGHT 0.2); fi
      train_once "$OUT/base2new/train_base/$(run_of imagenet)" DATASET.NUM_SHOTS "$shots" $(task CD) \
        ${weight[@]+"${weight[@]}"}
      ;;
    cross_datasets_test)
      MODEL=$OUT/base2new/train_base/$(run_of imagenet)
      test_once "$new" DATASET.NUM_SHOTS "$shots" $(task CD) "$@"
      ;;
  esac
done
