# Sourced by run.sh: what a folder of scripts stands for. A new method is a row here and a folder of links to run.sh.
#
# method FOLDER PROTOCOL [DATASET]: sets TRAINER, and CFG unless it is given; of a method that searches first, SEARCH, the
# trainer of that, and SEARCH_CFG unless it is given; for an addition beside another method's prompts, BESIDE, its node
method() {
  local given=${TRAINER:-} base few cross # configs for base-to-new, for few-shot, and for cross-data-set runs
  SEARCH= BESIDE= # not by the environment
  case $1 in
    mpl) TRAINER=MPL base=vit_b4_c1_add2_rm1 cross=${base}_cross_datasets ;;
    coop) TRAINER=CoOp base=vit_b16_ctxv1 cross=vit_b16_ep50_ctxv1 ;;
    alvlm) TRAINER=ALVLM base=vit_b16 ;;
    cocoop) TRAINER=CoCoOp base=vit_b16_c4_ep10_batch1_ctxv1 ;;
    kgcoop) TRAINER=KgCoOp base=vit_b16_ep100_ctxv1 ;;
    prograd) TRAINER=ProGrad base=rn50_ep100 few=rn50 cross=rn50_ep50 ;;
    maple) TRAINER=MaPLe base=vit_b16_c2_ep5_batch4_2ctx cross=${base}_cross_datasets ;;
    independent-vlp) TRAINER=IVLP base=vit_b16_c2_ep5_batch4_2+2ctx ;;
    language-prompting) TRAINER=IVLP base=vit_b16_c2_ep5_batch4_4ctx_language_only ;;
    vpt) TRAINER=VPT base=vit_b16_c2_ep5_batch4_4 ;;
    promptsrc)
      TRAINER=PromptSRC base=vit_b16_c2_ep20_batch4_4+4ctx cross=${base}_cross_datasets
      few=vit_b16_c2_ep50_batch4_4+4ctx_few_shot
      ;;
    dpl)
      TRAINER=DPL base=vit_b16_ep40_batch4 SEARCH=DPLSearch
      SEARCH_CFG=${SEARCH_CFG:-vit_b16_c6_ep80_batch4}
      ;;
    trainersupernet) TRAINER=TrainerSupernet base=fewshot ;;
    trainersubnet) TRAINER=TrainerSubnet base=fewshot ;;
    tcp) TRAINER=TCP base=vit_b16_ep100_ctxv1 ;;
    mmadapter) TRAINER=MultiModalAdapter base=vit_b16_ep5 cross=vit_b16_ep1_cross_datasets ;;
    clip_lora) TRAINER=CLIPLoRA base=vit_b16 ;;
    mmrl) TRAINER=MMRL base= ;; # by data set: protocols/mmrl.sh
    mmrlpp) TRAINER=MMRLpp base= ;;
    hicropl)
      TRAINER=HiCroPL base=vit_b16_c2_ep50_batch32_16ctx few=${base}_few_shot
      cross=vit_b16_c2_ep5_batch32_2ctx_cross_datasets
      case ${3-} in [Ii]mage[Nn]et) base=vit_b16_c2_ep40_batch128_16ctx ;; esac
      ;;
    dept) # or TRAINER=ExtrasLinearProbeCoCoOp, ..KgCoOp, ..MaPLe
      TRAINER=${given:-ExtrasLinearProbeCoOp}
      case $TRAINER in
        *CoCoOp) base=vit_b16_c4_ep10_batch1_ctxv1 ;;
        *KgCoOp) base=vit_b16_ep10_ctxv1_bs4_lr35 ;;
        *MaPLe) base=vit_b16_c2_ep10_batch4_2ctx ;;
        *) base=vit_b16_ep10_bs4_lr35 ;;
      esac
      ;;
    kdpl) # or TRAINER=CoCoOp, VPT, MaPLe, PromptSRC
      TRAINER=${given:-CoOp} BESIDE=KDPL
      case $TRAINER in
        CoCoOp) base=vit_b32_c4_ep10_batch1_ctxv1 ;;
        VPT) base=vit_b32_c2_ep5_batch4_4 ;;
        MaPLe) base=vit_b32_c2_ep5_batch4_2ctx ;;
        PromptSRC) base=vit_b32_c2_ep20_batch4_4+4ctx cross=${base}_cross_datasets ;;
        *) base=vit_b32_ctxv1 ;;
      esac
      ;;
    promptkd) TRAINER=PromptKD base= ;; # by script: protocols/promptkd.sh
    lpplusplus) TRAINER=LPPlusPlus base=vit_b16_ep300 ;;
    adapter) TRAINER=ADAPTER base=SGD_lr1e-1_B256_ep300 ;;
    tip_adapter) TRAINER=${given:-TipAdapter} base=vit_b16 ;; # or TRAINER=TipAdapterF
    clip_adapter) TRAINER=CLIP_Adapter base=vit_b16 ;;
    taskres) TRAINER=TaskRes base=generalization_vit16 ;;
    zsclip) base=vit_b16 ;;
    *)
      echo "error: scripts/methods.sh has no method $1" >&2
      exit 2
      ;;
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
