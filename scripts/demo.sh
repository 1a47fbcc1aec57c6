#!/usr/bin/env bash
# Run the demo with the bundled CLIP. The first part compares MPL with other methods on two data sets of handwritten digits
# (base-to-new and few-shot runs, five seeds) and writes tables, figures and a report page. The second part trains MPL on a
# folder of images. `modprompt experiment run demo_full` runs all methods.
# Usage: scripts/demo.sh
# DATA, OUT and PYTHON are explained in scripts/common.sh. JOBS is the number of parallel runs (default: 2).
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OUT=${OUT:-$project/output/demo}
run() { PYTHONSAFEPATH=1 PYTHONPATH=$project${PYTHONPATH:+:$PYTHONPATH} "${PYTHON:-python}" -m "$@"; }
run modprompt experiment run demo --report --compact --jobs "${JOBS:-2}"

own=$OUT/own_images
echo
echo "Part 2: MPL is trained on a folder of images. Here, the images are digits in one folder per class, in $own/images."
run tools.digit_photos "$own"
run modprompt experiment run own_images --data "$own/images" --out "$own/output" --report --compact --jobs "${JOBS:-2}"
trained=("$own"/output/image_folder/MPL/eval/*_16shots/seed1)
run modprompt predict "${trained[0]}" "$own/new" --top 1
echo
echo "To train on your own photos, use a larger CLIP, e.g. OpenAI's ViT-B/16 (a download of 350 MB). See docs/own_images.md."
