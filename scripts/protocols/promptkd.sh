# PromptKD's scripts as in its repository, and the training of a teacher. A student is trained on the whole training
# split without labels; its teacher is where the repository has it below the current folder, teacher_model/, or
# TEACHER, a run's folder (of teacher_train) or a checkpoint. KD_WEIGHT is the repository's for the data set.
# teacher_train trains on the base classes with 16 shots (SHOTS), or with MODAL=cross on all.
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
    *) echo "error: MODAL must be base2novel or cross, not $MODAL" >&2 && exit 2 ;;
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
