# Train and test on all classes of a data set with the flags and few-shot lists of CLIP-LoRA's repository. --save_path
# writes the low-rank matrices to SAVE_PATH/BACKBONE/DATASET/SHOTSshots/seedSEED/FILENAME.pt in the format of that
# repository, and --eval_only tests the matrices in this file.
text="[--dataset NAME] [--shots N] [--seed N] [--backbone NAME] [--root_path DIR] [--encoder both|text|vision] [--params q k v] [--position all] [--r N] [--alpha N] [--dropout_rate X] [--lr X] [--n_iters N] [--batch_size N] [--save_path DIR] [--filename NAME] [--eval_only] [KEY VALUE ...]"
[[ $# -ge 1 ]] || usage "$text"
name=dtd shots=16 seed=1 backbone=ViT-B/16 encoder=both params="q k v" position=all r=2 alpha=1 dropout=0.25
save= filename=lora_weights eval_only= settings=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --eval_only)
      eval_only=yes
      shift
      continue
      ;;
    --params)
      params=
      shift
      while [[ ${1:-} = [qkvo] ]]; do
        params="$params${params:+ }$1"
        shift
      done
      continue
      ;;
    --*) [[ $# -ge 2 ]] || usage "$text" ;;
    *) break ;;
  esac
  case $1 in
    --dataset) name=$2 ;;
    --shots) shots=$2 ;;
    --seed) seed=$2 ;;
    --backbone) backbone=$2 ;;
    --root_path) DATA=$(from "$PWD" "$2") ;;
    --encoder) encoder=$2 ;;
    --position) position=$2 ;;
    --r) r=$2 ;;
    --alpha) alpha=$2 ;;
    --dropout_rate) dropout=$2 ;;
    --lr) settings+=(OPTIM.LR "$2") ;;
    --n_iters) settings+=(TRAINER.CLIPLORA.N_ITERS "$2") ;;
    --batch_size) settings+=(DATALOADER.TRAIN_X.BATCH_SIZE "$2") ;;
    --save_path) save=$(from "$PWD" "$2") ;;
    --filename) filename=$2 ;;
    *) usage "$text" ;;
  esac
  shift 2
done
case $name in
  fgvc) dataset=fgvc_aircraft ;; # its name there
  *) dataset=$(data_set "$name") ;;
esac
settings+=(
  DATASET.NUM_SHOTS "$shots" DATASET.VAL_FIRST True MODEL.BACKBONE.NAME "$backbone"
  TRAINER.CLIPLORA.ENCODER "$encoder" TRAINER.CLIPLORA.PARAMS "$params" TRAINER.CLIPLORA.POSITION "$position"
  TRAINER.CLIPLORA.R "$r" TRAINER.CLIPLORA.ALPHA "$alpha" TRAINER.CLIPLORA.DROPOUT "$dropout" "$@"
)
short=$(tr -d '/-' <<<"$backbone" | tr '[:upper:]' '[:lower:]')
run=$OUT/$dataset/$TRAINER/${short}_${shots}shots/${encoder}_${params// /}_${position}_r$r/seed$seed
file=$save/$short/$name/${shots}shots/seed$seed/$filename.pt
if [[ -n $eval_only ]]; then
  if [[ -z $save || ! -f $file ]]; then
    if [[ -z $save ]]; then
      echo "error: --eval_only needs --save_path, the folder that contains the low-rank matrices. Add --save_path DIR." >&2
    else
      echo "error: --eval_only needs the file $file, which does not exist. Train first, or change --save_path." >&2
    fi
    exit 2
  fi
  MODEL=$run/given
  mkdir -p "$MODEL/prompt_learner"
  cp "$file" "$MODEL/prompt_learner/model.pth.tar-0"
  evaluate_once "$run/evaluated" "${settings[@]}"
  exit
fi
run_once "$run" "${settings[@]}"
if [[ -n $save ]]; then
  mkdir -p "$(dirname "$file")"
  PYTHONPATH=$project${PYTHONPATH:+:$PYTHONPATH} "$PYTHON" -m modprompt export "$run" --to lora --out "$file"
fi
