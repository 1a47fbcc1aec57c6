"""Everything that an experiment asks for, tried on train.py's own reading of settings before anything runs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Sequence

from modprompt.errors import UserError
from modprompt.experiments.plan.commands import options
from modprompt.experiments.plan.experiment import dataset_config
from modprompt.experiments.plan.protocols import Job
from modprompt.methods.schedule_files import expanded
from modprompt.programs import import_modules
from modprompt.runs.settings import Settings


def settings_of(job: Job, out: Path, data: Path) -> Settings:
    """What the words of a job's command give.

    Raises:
        UserError: as Settings.read and expanded.
    """
    files = [str(dataset_config(job.dataset)), str(job.method.config)]
    flags: dict[str, Any] = {"DATASET.ROOT": str(data), "OUTPUT_DIR": str(out / job.folder)}
    flags.update({"TRAINER.NAME": job.method.trainer, "SEED": job.seed})
    return expanded(Settings.read(files, flags, options(job, out)))


def _check_one(settings: Settings, tests: bool) -> None:
    from dassl.engine import TRAINER_REGISTRY

    from modprompt.trainers import backbone, config
    from modprompt.trainers.clip_trainer import CLIPTrainer

    cfg = config.build(settings, tests)
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    trainer.check_cfg(trainer.__new__(trainer), cfg)
    if issubclass(trainer, CLIPTrainer):
        backbone.require_there(cfg)


def check(jobs: Sequence[Job], out: Path, data: Path) -> list[str]:
    """Read the settings of one job of each method and data set as train.py does, and have its trainer look at them.

    Returns:
        Warnings, each once.

    Raises:
        UserError: on unknown trainers, keys or values; the method is named.
    """
    from modprompt.compat import find as compat

    compat.add_to_path()
    import modprompt.data.readers.all
    import modprompt.trainers.all  # noqa: F401

    import_modules(list(dict.fromkeys(name for job in jobs for name in job.method.imports)))
    seen: set[tuple[str, str]] = set()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for job in jobs:
            if (job.method.label, job.dataset) in seen:
                continue
            seen.add((job.method.label, job.dataset))
            try:
                _check_one(settings_of(job, out, data), job.tests)
            except ValueError as error:
                raise UserError(f"method {job.method.label}: {error}") from None
    return list(dict.fromkeys(str(one.message) for one in caught if one.category is UserWarning))
