#!/usr/bin/env bash
# MPL, cross-data-set: train on all classes of ImageNet.   Usage: scripts/mpl/xd_train.sh imagenet SEED [EPOCHS]
export TRAINER=MPL CFG=${CFG:-vit_b4_c1_add2_rm1_cross_datasets} SCRIPT=scripts/mpl/xd_train.sh
exec bash "$(dirname "${BASH_SOURCE[0]}")/../protocols/xd_train.sh" "$@"
