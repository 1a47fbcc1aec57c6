"""Train and evaluate prompt-learning methods for CLIP, with the flags of the CoOp family.

python train.py --trainer MPL                 the embedded small CLIP on handwritten digits; needs no download
python train.py --trainer MPL --root my_photos --backbone ViT-B/16      images of your own, a folder for each class
python train.py --trainer MPL --root data --seed 1 --output-dir output/run
    --config-file vit_b4_c1_add2_rm1 --dataset-config-file eurosat
    DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base
python train.py --trainer MPL ACTIVE.METHOD badge ACTIVE.PCB True ACTIVE.ROUNDS 3      in rounds, which choose images
python train.py --import my_trainer --trainer Mine ...      a trainer of yours, in my_trainer.py of the current folder
python train.py --host CODEBASE --trainer MPL ...           with the readers, config keys and clip of another codebase
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, Callable, Optional

from modprompt.cli.flags import parse_args, settings_of
from modprompt.hosts import borrowed
from modprompt.programs import close_log, import_modules, left_as_found, report

INTERRUPTED = "interrupted; the same command goes on after the last whole epoch"
Check = Optional[Callable[[Any], Any]]  # of a configuration, before any work


def _run(args: argparse.Namespace, check: Check, host: Optional[borrowed.Host]) -> None:
    from modprompt.active import labelling, rounds
    from modprompt.trainers import run

    if host is None:
        import_modules(args.imports)
    else:
        host.import_modules(args.imports)
        args.dataset_config_file = host.config_of(args.dataset_config_file)
    settings = settings_of(args, active=check is not None)
    borrowed.require_no_reader(settings)
    if host is not None:
        host.add_keys(str(settings["TRAINER.NAME"].value) if "TRAINER.NAME" in settings else "")
        settings = host.with_reader(settings)
    mode = run.Mode(args.once, args.eval_only, args.model_dir, args.load_epoch, args.no_train)
    run.run(
        settings,
        mode,
        run.Rounds(check or rounds.settings_of, rounds.run, labelling.differing),
    )


def import_all() -> None:
    """Import what every run needs, PyTorch and Dassl with it; it stays."""
    from modprompt.compat import find as compat

    compat.add_to_path()
    import modprompt.active.rounds
    import modprompt.trainers.run  # noqa: F401


def program(argv: list[str] | None, description: str, check: Check = None) -> int:
    """A program with these flags; see main.

    Args:
        argv: the words behind its name; None for those of this process.
        description: what its help says.
        check: raises UserError if a configuration is not for this program; None where all are.
    """
    return report(_program, argv, description, check)


def _program(argv: list[str] | None, description: str, check: Check) -> int:
    args = parse_args(argv, description)
    host = borrowed.entered(args.host, args.its_dassl)
    import_all()  # behind --help, which needs none of it
    with left_as_found():
        console = sys.stdout
        try:
            return report(_run, args, check, host, interrupted=INTERRUPTED)  # while the log is open, which gets it too
        finally:
            close_log(console)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, 2 after one line on what is wrong (MODPROMPT_TRACEBACK=1 shows where), 3 if labels lack, or 130."""
    return program(argv, __doc__)
