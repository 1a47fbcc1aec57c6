# Run PromptKD as in its repository. The student is trained on the whole training split without labels. The teacher is
# read from teacher_model/ in the current folder, as in the repository, or from TEACHER (the output folder of a run of
# teacher_train, or a checkpoint). KD_WEIGHT is the value of the repository for the data set. teacher_train trains a
# teacher on the base classes with 16 shots (set SHOTS to change), or on all classes with MODAL=cross.
if [[ -z $CFG ]]; then
  case $name in
    base2new_train) CFG=vit_b16_c2_ep20_batch8_4+4ctx ;;
    xd_train) CFG=vit_b16_c2_ep20_batch8_4+4ctx_cross_datasets ;;
    teacher_train) CFG=vit_l14_c2_ep20_batch8_4+4ctx ;;
  esac
fi
if [[ $name = teacher_train ]]; then TRAINER=PromptSRC configs=PromptSRC; fi
config=$(config_of "$configs" "$CFG") CFG=$(basename "$CFG" .yaml)
arguments "DATASET SEED [EPOCHS] [KEY VALUE ...]" "$@"
if [[ $name = teacher_train ]]; then
  shots=${SHOTS:-16}
  case ${MODAL:-base2novel} in
    base2novel) half=base dir=base2new/train_base/$dataset/shots_$shots/$TRAINER/$CFG ;;
    cross) half=all dir=$dataset/$TRAINER/${CFG}_${shots}shots ;;
    *) echo "error: MODAL is '$MODAL', but only base2novel and cross are supported." >&2 && exit 2 ;;
  esac
  train_once "$OUT/$dir/seed$seed" DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES "$half"
  exit
fi
shots=${SHOTS:-0} weight=1000.0 modal=base2novel
dir=base2new/train_base/$dataset/shots_$shots/$TRAINER/$CFG/seed_$seed
if [[ $name = xd_train ]]; then
  modal=cross dir=$dataset/$TRAINER/${CFG}_${shots}shots/seed$seed
else
  case $dataset in fgvc_aircraft | oxford_flowers | dtd) weight=200.0 ;; esac
fi
train_once "$OUT/$dir" DATASET.NUM_SHOTS "$shots" DATASET.SUBSAMPLE_CLASSES all TRAINER.MODAL "$modal" \
  TRAINER.PROMPTKD.TEMPERATURE 1.0 TRAINER.PROMPTKD.KD_WEIGHT "$weight" ${TEACHER:+TRAINER.PROMPTKD.TEACHER_CKPT "$TEACHER"}
