#!/usr/bin/env bash
# MPL, cross-data-set and domain generalisation: test on another data set.   Usage: scripts/mpl/xd_test.sh DATASET SEED [EPOCHS]
export TRAINER=MPL CFG=${CFG:-vit_b4_c1_add2_rm1_cross_datasets} SCRIPT=scripts/mpl/xd_test.sh
exec bash "$(dirname "${BASH_SOURCE[0]}")/../protocols/xd_test.sh" "$@"
