"""Train and evaluate prompt-learning methods for CLIP, with the flags of CoOp and other Dassl-based codebases.

modprompt train --trainer MPL                 train the bundled small CLIP on handwritten digits; needs no download
modprompt train --trainer MPL --root my_photos --backbone ViT-B/16    train on your own images, one folder per class
modprompt train --trainer MPL --root data --seed 1 --output-dir output/run
    --config-file vit_b4_c1_add2_rm1 --dataset-config-file eurosat
    DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base
modprompt train --trainer MPL ACTIVE.METHOD badge ACTIVE.PCB True ACTIVE.ROUNDS 3    train with active learning
modprompt train --import my_trainer --trainer Mine ...    train a custom trainer in my_trainer.py of the current folder
modprompt train --host CODEBASE --trainer MPL ...         use the data-set readers, config keys and clip of a codebase

In a checkout of modprompt, `python train.py` is the same program.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from modprompt.cli.flags import parse_args, settings_of
from modprompt.io.result import IN_EXPERIMENT
from modprompt.programs import close_log, ending, import_modules

INTERRUPTED = "Interrupted. Run the same command again to continue after the last completed epoch."
Check = Callable[[Any], Any] | None  # of a configuration, before any work


def import_all() -> None:
    """Import what every run needs, with PyTorch and Dassl."""
    from modprompt.compat import find as compat

    compat.add_to_path()
    import modprompt.active.rounds
    import modprompt.trainers.run  # noqa: F401


def _run(args: argparse.Namespace, host: Any, check: Check) -> None:
    """Run what the words ask for, with what a codebase (hosts/borrowed.py), if there is one, adds to the settings."""
    from modprompt.active import labelling, rounds
    from modprompt.hosts.borrowed import require_no_reader
    from modprompt.trainers import run
    from modprompt.trainers.mode import Mode

    if host is None:
        import_modules(args.imports)
    else:
        host.import_modules(args.imports)
        args.dataset_config_file = host.config_of(args.dataset_config_file)
    settings = settings_of(args, takes_all=check is not None)
    require_no_reader(settings)

    def both(cfg: Any) -> None:
        rounds.settings_of(cfg)  # refuses impossible ones
        if check is not None:
            check(cfg)

    mode = Mode(args.once, args.eval_only, args.model_dir, args.load_epoch, args.no_train)
    settings = settings if host is None else host.completed(settings)
    is_alone = host is None and not args.once and not os.environ.get(IN_EXPERIMENT)
    run.run(settings, mode, both, run.Rounds(rounds.run, labelling.differing), with_baseline=is_alone)


def main(argv: list[str] | None = None, description: str | None = None, check: Check = None) -> int:
    """A program with these flags.

    `argv` are the words after its name, `description` is of its help, if not this module's, and `check` raises
    UserError if a configuration is not for this program; None accepts all. Exit code: 0, 2 after a message on what is
    wrong (MODPROMPT_TRACEBACK=1 shows where), 3 if labels are missing, or 130.
    """
    with ending() as end:
        args = parse_args(argv, description or __doc__)
        from modprompt.hosts.borrowed import entered

        host = entered(args.host, args.host_dassl)
        import_all()  # after --help, which does not need it
        console = sys.stdout
        try:
            with ending(INTERRUPTED) as ran:  # while the log is open, which gets the message too
                _run(args, host, check)
        finally:
            close_log(console)
        end.code = ran.code
    return end.code
