#!/usr/bin/env bash
# All methods with the embedded model on two sets of handwritten digits, seeds 1 2 3: base to new, domain shift, few shots; then
# tables, figures and one page. What it leaves out `modprompt experiment run demo_full` has.
# Usage: scripts/demo.sh   (DATA, OUT and PYTHON as in scripts/common.sh; JOBS runs at a time, 2 by default)
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OUT=${OUT:-$project/output/demo}
PYTHONSAFEPATH=1 PYTHONPATH=$project${PYTHONPATH:+:$PYTHONPATH} exec "${PYTHON:-python}" -m modprompt experiment run demo --report --one-line --jobs "${JOBS:-2}"
