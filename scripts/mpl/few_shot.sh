#!/usr/bin/env bash
# MPL, few-shot: train and test on all classes.   Usage: scripts/mpl/few_shot.sh DATASET SEED [SHOTS]
export TRAINER=MPL CFG=${CFG:-vit_b4_c1_add2_rm1} SCRIPT=scripts/mpl/few_shot.sh
exec bash "$(dirname "${BASH_SOURCE[0]}")/../protocols/few_shot.sh" "$@"
