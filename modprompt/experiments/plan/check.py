"""Everything that an experiment asks for, tried on train.py's own reading of settings before anything runs."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any, Sequence

from modprompt.checks import check_name
from modprompt.data.names import config_file
from modprompt.errors import SettingError, UserError
from modprompt.experiments.plan.commands import effective, is_of_schedule, options
from modprompt.experiments.plan.experiment import VALIDATION
from modprompt.experiments.plan.job import Job
from modprompt.experiments.plan.rounds import FEW_SHOT, method_of
from modprompt.io.paths import of_user
from modprompt.io.rounds import METHODS
from modprompt.io.settings import Settings
from modprompt.methods.search import file as schedule_file
from modprompt.methods.search.schedule_files import expanded
from modprompt.programs import import_modules


def settings_of(job: Job, out: Path, data: Path) -> Settings:
    """What the words of a job's command give.

    Raises:
        UserError: as Settings.read and expanded.
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

    with contextlib.redirect_stdout(io.StringIO()):  # each run says it of itself
        cfg = run_config.merged(settings, job.tests)
    reader = DATASET_REGISTRY.get(cfg.DATASET.NAME)
    require_only_tests(reader, not job.tests)
    if job.tests and cfg.TEST.SPLIT == "val" and not cfg.DATASET.VAL_FROM_TEST:
        _require_validation(reader, of_user(cfg.DATASET.ROOT or "."))
    if job.searches and not cfg.SEARCH.RUNS:
        raise UserError(f"{cfg.TRAINER.NAME} does not search: SEARCH.ON True, or DPLSearch")
    if job.method.acquisition == FEW_SHOT and cfg.ACTIVE.ROUNDS:
        raise UserError(
            f"{cfg.TRAINER.NAME} chooses its labels in rounds, whatever it is told: say what its few-shot runs are, "
            "few_shot: {trainer: ..., config: ...}, or have none, few_shot: false for all"
        )
    if cfg.ACTIVE.ROUNDS and not job.method.acquisition and not job.tests:
        raise UserError(
            f"{cfg.TRAINER.NAME} would choose its labels in {cfg.ACTIVE.ROUNDS} rounds (ACTIVE.ROUNDS), which protocol "
            "active is for"
        )
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    trainer.check_cfg(trainer.__new__(trainer), cfg)
    if issubclass(trainer, PromptTrainer):
        backbone.require_there(cfg.config)


def _require_validation(reader: Any, root: Path) -> None:
    """Raise UserError if a reader, where it can tell, has no validation images under a root."""
    find = getattr(reader, "without_validation", None)
    why = find(root) if find else ""
    if why:
        raise UserError(f"{why}; protocol validation measures on validation images")


def _check_job(job: Job, out: Path, data: Path) -> None:
    if job.first is not None and job.first.is_front:  # what it stands behind is looked at when it is there
        job = job._replace(first=None)
    if job.first is None or not schedule_file.fault(out / job.first.folder):
        _check_one(settings_of(job, out, data), job)
        return
    try:
        _check_one(settings_of(job._replace(first=None), out, data), job)
    except SettingError as error:
        if any(not is_of_schedule(key) for key, _ in error.faults):
            raise
        # what lacks is what the search will find


def _require_one_clip(job: Job) -> None:
    """Raise UserError if a training has another CLIP than its first stage."""
    if job.first is None:
        return
    searched, trained = effective(job.first), effective(job)
    for key in ("MODEL.BACKBONE.NAME", "MODEL.BACKBONE.PATH"):
        if searched.get(key, "") != trained.get(key, ""):
            what = "its search" if job.first.searches else "the training of its prompts"
            raise UserError(f"{key} is {trained.get(key)!r}, in {what} {searched.get(key)!r}: give both one CLIP")


def _require_acquisition(job: Job) -> None:
    """Raise SettingError if nobody has entered what chooses a run's labels; all modules are imported by now."""
    from modprompt.active.acquisition import find

    name = method_of(job.method.acquisition)
    if name in ("", FEW_SHOT, *METHODS):
        return
    try:
        find(name)
    except SettingError:
        check_name(name, METHODS, "ACTIVE.METHOD")


def check(jobs: Sequence[Job], out: Path, data: Path) -> list[str]:
    """Read the settings of one job of each method and data set as train.py does, and have its trainer look at them.

    Returns:
        Warnings, each once, with the methods that they are about.

    Raises:
        UserError: on unknown trainers, keys or values; the method is named.
    """
    from modprompt.compat import find as compat

    compat.add_to_path()
    import modprompt.data.readers.all
    import modprompt.trainers.all  # noqa: F401

    import_modules(list(dict.fromkeys(name for job in jobs for name in job.method.imports)))
    seen: set[tuple[str, str, bool, bool]] = set()
    found: dict[str, dict[str, None]] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for job in jobs:
            kind = (job.method.label, job.dataset, job.searches, job.column == VALIDATION)  # which others need not have
            if kind in seen:
                continue
            seen.add(kind)
            try:
                _require_one_clip(job)
                _require_acquisition(job)
                _check_job(job, out, data)
            except ValueError as error:
                what = f"search of {job.method.label}" if job.searches else f"method {job.method.label}"
                raise UserError(f"{what}: {error}") from None
            for one in caught:
                if one.category is UserWarning:
                    found.setdefault(str(one.message), {})[job.method.label] = None
            caught.clear()
    return [f"{', '.join(labels)}: {message}" for message, labels in found.items()]
