#!/usr/bin/env bash
# MPL, base-to-new: train on the base classes and test on them.   Usage: scripts/mpl/base2new_train.sh DATASET SEED [EPOCHS]
export TRAINER=MPL CFG=${CFG:-vit_b4_c1_add2_rm1} SCRIPT=scripts/mpl/base2new_train.sh
exec bash "$(dirname "${BASH_SOURCE[0]}")/../protocols/base2new_train.sh" "$@"
