#!/usr/bin/env bash
# Zero-shot CLIP on the base and on the new classes.   Usage: scripts/zsclip/base2new.sh DATASET SEED
export TRAINER=ZeroshotCLIP CFG=${CFG:-vit_b16} SCRIPT=scripts/zsclip/base2new.sh
exec bash "$(dirname "${BASH_SOURCE[0]}")/../protocols/base2new_zeroshot.sh" "$@"
