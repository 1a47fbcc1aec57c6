#!/usr/bin/env bash
# MPL, base-to-new: test on the new classes.   Usage: scripts/mpl/base2new_test.sh DATASET SEED [EPOCHS]
export TRAINER=MPL CFG=${CFG:-vit_b4_c1_add2_rm1} SCRIPT=scripts/mpl/base2new_test.sh
exec bash "$(dirname "${BASH_SOURCE[0]}")/../protocols/base2new_test.sh" "$@"
