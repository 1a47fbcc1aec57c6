"""Everything that an experiment asks for, checked by train.py's own reading of settings before anything runs."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modprompt.active import plan as rounds
from modprompt.data.names import config_file
from modprompt.errors import SettingError, UserError
from modprompt.experiments.plan.commands import effective, options
from modprompt.experiments.plan.experiment import VALIDATION
from modprompt.experiments.plan.job import Job
from modprompt.experiments.plan.kinds import tests_apart
from modprompt.experiments.plan.protocols import APART
from modprompt.experiments.plan.stages import stage_of
from modprompt.io.files import of_user
from modprompt.io.settings import Settings
from modprompt.methods.search.file import expanded
from modprompt.programs import import_modules


def settings_of(job: Job, out: Path, data: Path) -> Settings:
    """The settings that a job's command gives.

    Raises:
        UserError: as Settings.read, and on files that are named in place of values.
    """
    files = [str(config_file(job.dataset)), str(job.method.config)]
    flags: dict[str, Any] = {"DATASET.ROOT": str(data), "OUTPUT_DIR": str(out / job.folder)}
    flags.update({"TRAINER.NAME": job.method.trainer, "SEED": job.seed})
    return expanded(Settings.read(files, flags, options(job, out)))


def _check_one(settings: Settings, job: Job) -> None:
    from dassl.data.datasets import DATASET_REGISTRY
    from dassl.engine import TRAINER_REGISTRY

    from modprompt.data.readers.imagenet_variants import require_only_tests
    from modprompt.trainers import backbone, run_config
    from modprompt.trainers.prompt_trainer import PromptTrainer

    with contextlib.redirect_stdout(io.StringIO()):  # each run prints it itself
        cfg = run_config.merged(settings, job.tests)
    reader = DATASET_REGISTRY.get(cfg.DATASET.NAME)
    require_only_tests(reader, not job.tests)
    if job.tests and cfg.TEST.SPLIT == "val" and not cfg.DATASET.VAL_FROM_TEST:
        _require_validation(reader, of_user(cfg.DATASET.ROOT or "."))
    if job.stage == "search" and not cfg.SEARCH.RUNS:
        raise UserError(f"{cfg.TRAINER.NAME} does not search: SEARCH.ON True, or DPLSearch")
    rounds.check(cfg, job)
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    trainer.check_cfg(trainer.__new__(trainer), cfg)
    if issubclass(trainer, PromptTrainer):
        backbone.require_there(cfg)


def _require_validation(reader: Any, root: Path) -> None:
    """Raise UserError if a reader, where it can tell, has no validation images under a root."""
    find = getattr(reader, "without_validation", None)
    why = find(root) if find else ""
    if why:
        raise UserError(f"{why}; protocol validation measures on validation images")


def _check_job(job: Job, out: Path, data: Path) -> None:
    first = job.first
    if first is None or not (first.is_front or stage_of(first.stage).lacks(out / first.folder)):
        _check_one(settings_of(job, out, data), job)
        return
    try:
        _check_one(settings_of(job._replace(first=None), out, data), job)
    except SettingError as error:
        if any(not stage_of(job.method.stage_of).finds(key) for key, _ in error.faults):
            raise
        # what is missing is what the first stage will find


def _asks_apart(job: Job) -> bool:
    """Whether a run of a method that is taught on images of all classes asks for base and new classes apart."""
    of_base = ("DATASET.SUBSAMPLE_CLASSES", "base")
    return job.column == APART or (of_base in job.options if job.tests else of_base in (job.of_first or ()))


def _require_one_clip(job: Job) -> None:
    """Raise UserError if a training has another CLIP than its first stage."""
    if job.first is None:
        return
    found, trained = effective(job.first), effective(job)
    for key in ("MODEL.BACKBONE.NAME", "MODEL.BACKBONE.PATH"):
        if found.get(key, "") != trained.get(key, ""):
            what = stage_of(job.method.stage_of).called
            raise UserError(f"{key} is {trained.get(key)!r}, in {what} {found.get(key)!r}: give both the same CLIP")


def check(jobs: Sequence[Job], out: Path, data: Path) -> list[str]:
    """Read the settings of one job of each method and data set as train.py does, and have its trainer check them.

    Returns:
        Warnings, each once, with the methods that they are about.

    Raises:
        UserError: on unknown trainers, keys or values; the message names the method.
    """
    from modprompt.compat import find as compat

    compat.add_to_path()
    import modprompt.data.readers.all
    import modprompt.trainers.all  # noqa: F401

    import_modules(list(dict.fromkeys(name for job in jobs for name in job.method.imports)))
    seen: set[tuple[str, str, str, bool]] = set()
    found: dict[str, dict[str, None]] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for job in jobs:
            if tests_apart(job.method.trainer) and not _asks_apart(job):
                raise UserError(
                    f"method {job.method.label}: it is taught on images of all classes, without labels: it needs "
                    "protocol base2new, or protocol validation with classes: base"
                )
            kind = (job.method.label, job.dataset, job.stage, job.column == VALIDATION)  # which others need not have
            if kind in seen:
                continue
            seen.add(kind)
            try:
                _require_one_clip(job)
                rounds.require_known(job)
                _check_job(job, out, data)
            except ValueError as error:
                what = f"{job.stage} of {job.method.label}" if job.stage else f"method {job.method.label}"
                raise UserError(f"{what}: {error}") from None
            for warning in caught:
                if warning.category is UserWarning:
                    found.setdefault(str(warning.message), {})[job.method.label] = None
            caught.clear()
    return [f"{', '.join(labels)}: {message}" for message, labels in found.items()]
