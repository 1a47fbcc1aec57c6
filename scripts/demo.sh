#!/usr/bin/env bash
# The demo with the embedded model: the claim, six methods from base to new, few shots on two sets of handwritten digits, five
# seeds, tables, figures and one page; then MPL on a folder of images like a user's own. `modprompt experiment run demo_full`
# has all methods.
# Usage: scripts/demo.sh   (DATA, OUT and PYTHON as in scripts/common.sh; JOBS runs at a time, 2 by default)
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OUT=${OUT:-$project/output/demo}
run() { PYTHONSAFEPATH=1 PYTHONPATH=$project${PYTHONPATH:+:$PYTHONPATH} "${PYTHON:-python}" -m "$@"; }
run modprompt experiment run demo --report --compact --jobs "${JOBS:-2}"

own=$OUT/own_images
echo
echo "Your own images: digits as class folders in $own/images"
run tools.digit_photos "$own"
run modprompt experiment run own_images --data "$own/images" --out "$own/output" --report --compact --jobs "${JOBS:-2}"
trained=("$own"/output/image_folder/MPL/eval/*_16shots/seed1)
run modprompt predict "${trained[0]}" "$own/new" --top 1
echo
echo "With your photos in place of digits use another CLIP (docs/own_images.md): OpenAI's ViT-B/16 is a download of 350 MB."
