"""Commands of MPL in a codebase: `modprompt scripts CODEBASE` prints those for base to new.

modprompt scripts CODEBASE > base2new.sh
bash base2new.sh eurosat 1                  trains on the base classes, tests on the new ones
"""

import argparse
import shlex
import sys
from pathlib import Path

from modprompt.hosts.codebase import PROGRAM, find, our_trainer
from modprompt.hosts.rows import with_rows
from modprompt.programs import report

CONFIG = "vit_b4_c1_add2_rm1"
_SCRIPT = """#!/usr/bin/env bash
# {trainer} from base to new in {folder}:
#   bash THIS_FILE DATASET SEED [KEY VALUE ...]      DATASET: of configs/datasets/DATASET.yaml there
# DATA: folder of the data sets (data)   OUT: of the results (output)   PYTHON: python
# A run that was stopped goes on when it is started again, and a finished one is tested again.
set -euo pipefail
dataset=${{1:?DATASET SEED}} seed=${{2:?DATASET SEED}}
data=$(realpath "${{DATA:-data}}") out=$(realpath -m "${{OUT:-output}}")
shift 2
run=$dataset/shots_16/{trainer}/{config}/seed$seed trained=$out/base2new/train_base/$run
cd {quoted}
python=${{PYTHON:-python}}
if ! "$python" -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ["torch", "modprompt"])))'; then
  echo "error: $python has no torch, or no modprompt: give another one by PYTHON=" >&2
  exit 2
fi
export MODPROMPT_ONCE=1 # options must agree with what a folder's name states: shots, seed, classes

run() {{ # run CLASSES OUTPUT_DIR [FLAG ...] -- [KEY VALUE ...]
  local classes=$1 to=$2 flags=()
  shift 2
  while [[ $1 != -- ]]; do flags+=("$1") && shift; done
  shift
  "$python" -m modprompt.launch {program} --trainer {trainer} --config-file {config} \\
    --root "$data" --seed "$seed" --output-dir "$to" --dataset-config-file "configs/datasets/$dataset.yaml" \\
    ${{flags[@]+"${{flags[@]}}"}} \\
    DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES "$classes" "$@"
}}

run base "$trained" -- "$@"
run new "$out/base2new/test_new/$run" --eval-only --model-dir "$trained" -- "$@"
"""


def script_for(folder: Path) -> str:
    """The script for base to new in a codebase; the launcher adds what its program needs."""
    trainer = our_trainer(folder)
    return _SCRIPT.format(
        folder=folder, quoted=shlex.quote(str(folder)), trainer=trainer, config=CONFIG, program=PROGRAM
    )


def start_of(folder: Path) -> str:
    """How a codebase's own program starts a run, on EuroSAT, with what it needs."""
    trainer = our_trainer(folder)
    words = ["--trainer", trainer, "--config-file", CONFIG, "--dataset-config-file", "configs/datasets/eurosat.yaml"]
    words += ["--root", "DATA", "--output-dir", "output/mpl"]
    words += ["DATASET.NUM_SHOTS", "16", "DATASET.SUBSAMPLE_CLASSES", "base"]
    more = with_rows(words, folder / PROGRAM, trainer).words
    return " ".join(map(shlex.quote, ["python", PROGRAM, *more]))


def _run(args: argparse.Namespace) -> None:
    print(script_for(find(Path(args.folder))), end="")


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 2 after a message on what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="the codebase, with its train.py")
    return report(_run, parser.parse_args(sys.argv[1:] if argv is None else argv))
