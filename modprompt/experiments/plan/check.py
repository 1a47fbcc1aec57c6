"""Everything that an experiment asks for, checked by train.py's own reading of settings before anything runs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modprompt.data.names import config_file
from modprompt.errors import SettingError, UserError
from modprompt.experiments.plan import rounds
from modprompt.experiments.plan.commands import effective, options
from modprompt.experiments.plan.experiment import VALIDATION, Job
from modprompt.experiments.plan.protocols import APART
from modprompt.experiments.plan.stages import stage_of, tests_apart
from modprompt.io.files import of_user
from modprompt.io.settings import Settings
from modprompt.methods.search.file import expanded
from modprompt.output import muted
from modprompt.programs import import_modules


def settings_of(job: Job, out: Path, data: Path) -> Settings:
    """The settings that a job's command gives; raises UserError as Settings.read, and on files named as values."""
    files = [str(config_file(job.dataset)), str(job.method.config)]
    flags: dict[str, Any] = {"DATASET.ROOT": str(data), "OUTPUT_DIR": str(out / job.folder)}
    flags.update({"TRAINER.NAME": job.method.trainer, "SEED": job.seed})
    return expanded(Settings.read(files, flags, options(job, out)))


def _check_settings(settings: Settings, job: Job) -> None:
    from dassl.data.datasets import DATASET_REGISTRY
    from dassl.engine import TRAINER_REGISTRY

    from modprompt.data.reader import require_only_tests
    from modprompt.trainers import backbone, run_config
    from modprompt.trainers.prompt_trainer import PromptTrainer

    with muted():  # each run prints these notes itself
        cfg = run_config.merged(settings, job.tests)
    reader = DATASET_REGISTRY.get(cfg.DATASET.NAME)
    require_only_tests(reader, not job.tests)
    if job.tests and cfg.TEST.SPLIT == "val" and not cfg.DATASET.VAL_FROM_TEST:
        find = getattr(reader, "without_validation", None)  # where a reader can tell
        if why := find(of_user(cfg.DATASET.ROOT or ".")) if find else "":
            raise UserError(
                f"{why}. The protocol `validation` needs validation images. Use another data set or another protocol."
            )
    find = getattr(reader, "without_test", None)
    if cfg.TEST.SPLIT != "val" and (why := find(of_user(cfg.DATASET.ROOT or ".")) if find else ""):
        raise UserError(f"{why}, so the experiment cannot measure any accuracy. Add test images.")
    if job.stage == "search" and not cfg.SEARCH.RUNS:
        raise UserError(
            f"{cfg.TRAINER.NAME} does not search for a schedule. Set SEARCH.ON to True, or use the trainer DPLSearch."
        )
    rounds.check(cfg, job)
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    trainer.check_cfg(trainer.__new__(trainer), cfg)
    if issubclass(trainer, PromptTrainer):
        backbone.require_there(cfg)


def _check_job(job: Job, out: Path, data: Path) -> None:
    stage, first = stage_of(job.method.stage_of), job.first
    if first is not None:
        for key in ("MODEL.BACKBONE.NAME", "MODEL.BACKBONE.PATH"):
            found, trained = effective(first).get(key, ""), effective(job).get(key, "")
            if found != trained:
                raise UserError(
                    f"{key} is {trained!r}, but {stage.called} uses {found!r}. Both training runs need the same CLIP "
                    "model."
                )
    rounds.require_known(job)
    waits = first is not None and (first.is_front or bool(stage_of(first.stage).lacks(out / first.folder)))
    try:
        _check_settings(settings_of(job._replace(first=None) if waits else job, out, data), job)
    except SettingError as error:
        if not waits or any(not stage.finds(key) for key, _ in error.faults):
            raise  # else what is missing is what the first stage will find


def _require_apart(job: Job) -> None:
    """Raise UserError if what is taught on images of all classes is not asked for base and new classes apart."""
    of_base = ("DATASET.SUBSAMPLE_CLASSES", "base")
    asks = job.column == APART or of_base in (job.options if job.tests else job.of_first or ())
    if tests_apart(job.method.trainer) and not asks:
        raise UserError(
            f"The method {job.method.label} trains on unlabelled images of all classes, so base and new classes must "
            "be tested separately. Use the protocol `base2new`, or the protocol `validation` with `classes: base`."
        )


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

    import_modules(list(dict.fromkeys(name for job in jobs for name in job.method.import_words)))
    kinds: dict[tuple[str, str, str, bool], Job] = {}
    for job in jobs:
        _require_apart(job)
        kinds.setdefault((job.method.label, job.dataset, job.stage, job.column == VALIDATION), job)
    found: dict[str, dict[str, None]] = {}
    for job in kinds.values():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                _check_job(job, out, data)
            except ValueError as error:
                what = f"{job.stage} of {job.method.label}" if job.stage else f"method {job.method.label}"
                raise UserError(f"{what}: {error}") from None
        for warning in caught:
            if warning.category is UserWarning:
                found.setdefault(str(warning.message), {})[job.method.label] = None
    return [f"{', '.join(labels)}: {message}" for message, labels in found.items()]
