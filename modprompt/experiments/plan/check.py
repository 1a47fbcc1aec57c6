"""Everything that an experiment asks for, tried on train.py's own reading of settings before anything runs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Sequence

from modprompt.errors import UserError
from modprompt.experiments.plan.commands import flags
from modprompt.experiments.plan.protocols import Job


def check(jobs: Sequence[Job], out: Path, data: Path) -> list[str]:
    """Read the settings of one job of each method and data set as train.py does, and have its trainer look at them.

    Returns:
        Warnings, each once.

    Raises:
        UserError: on an unknown trainer, key or value; the method is named.
    """
    from modprompt.cli import train

    seen: set[tuple[str, str]] = set()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for job in jobs:
            if (job.method.label, job.dataset) in seen:
                continue
            seen.add((job.method.label, job.dataset))
            try:
                cfg = train.setup_cfg(train.parse_args(flags(job, out, data)))
                trainer = train.TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
                trainer.check_cfg(trainer.__new__(trainer), cfg)
            except ValueError as error:
                raise UserError(f"method {job.method.label}: {error}") from None
    return list(dict.fromkeys(str(one.message) for one in caught if one.category is UserWarning))
