# Sourced by run.sh. This file selects the trainer and the config for a folder of scripts, from the rows of
# configs/trainers.yaml and the exceptions below. A new method needs a row in that file and a folder of links to run.sh.
#
# method FOLDER PROTOCOL [DATASET]: sets TRAINER, and CFG unless it is given; of a method that searches first, SEARCH, the
# trainer of that, and SEARCH_CFG unless it is given; for an addition beside another method's prompts, BESIDE, its node
method() {
  local given=${TRAINER:-} row base few cross # configs for base-to-new, for few-shot, and for cross-data-set runs
  SEARCH= BESIDE= TRAINER= # not by the environment
  case $1 in
    language-prompting) TRAINER=IVLP ;;
    dept) TRAINER=${given:-ExtrasLinearProbeCoOp} ;; # or ..CoCoOp, ..KgCoOp, ..MaPLe
    kdpl) TRAINER=${given:-CoOp} BESIDE=KDPL ;;      # or CoCoOp, VPT, MaPLe, PromptSRC
    tip_adapter) TRAINER=${given:-TipAdapter} ;;     # or TipAdapterF
  esac
  if [[ -n $TRAINER ]]; then row="^$TRAINER:"; else row="[{ ]scripts: $1[,}]"; fi
  if ! row=$(grep "$row" "$scripts/../configs/trainers.yaml"); then
    echo "error: configs/trainers.yaml contains no row for scripts/$1. Add a row with \`scripts: $1\`, or unset TRAINER." >&2
    exit 2
  fi
  TRAINER=${row%%:*} base=$(of_row ViT-B/16) few=$(of_row few_shot) cross=$(of_row cross)
  case $1/${BESIDE:+$TRAINER} in
    mmrl/ | mmrlpp/ | promptkd/) base= ;; # by data set or script: protocols/mmrl.sh, protocols/promptkd.sh
    language-prompting/) base=vit_b16_c2_ep5_batch4_4ctx_language_only ;;
    dpl/) SEARCH=DPLSearch SEARCH_CFG=${SEARCH_CFG:-vit_b16_c6_ep80_batch4} ;;
    hicropl/) case ${3-} in [Ii]mage[Nn]et) base=vit_b16_c2_ep40_batch128_16ctx ;; esac ;;
    kdpl/CoCoOp) base=vit_b32_c4_ep10_batch1_ctxv1 ;;
    kdpl/VPT) base=vit_b32_c2_ep5_batch4_4 ;;
    kdpl/MaPLe) base=vit_b32_c2_ep5_batch4_2ctx cross= ;;
    kdpl/PromptSRC) base=vit_b32_c2_ep20_batch4_4+4ctx few= cross=${base}_cross_datasets ;;
    kdpl/*) base=vit_b32_ctxv1 cross= ;;
  esac
  case $2 in
    few_shot | reproduce_few_shot) base=${few:-$base} ;;
    xd_* | reproduce_xd) base=${cross:-$base} ;;
  esac
  if [[ $1 = zsclip || $2 = zeroshot ]]; then
    base=vit_b16
    case $given in Zeroshot*) TRAINER=$given ;; *) TRAINER=ZeroshotCLIP ;; esac # or TRAINER=ZeroshotCLIP2
  fi
  CFG=${CFG:-$base}
}

of_row() { sed -nE "s|.*[{ ]$1: ([^,}]*).*|\1|p" <<<"$row"; } # KEY: its value in the row of `method`
