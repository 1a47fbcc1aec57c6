"""Check all settings of an experiment with the same code as `modprompt train`, before any run starts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modprompt.data.names import config_file
from modprompt.errors import SettingError, UserError
from modprompt.experiments.plan import rounds
from modprompt.experiments.plan.commands import options, planned_settings
from modprompt.experiments.plan.experiment import VALIDATION, Job
from modprompt.experiments.plan.first_stages import FIRST_STAGES, SEARCH, tests_apart
from modprompt.experiments.plan.inputs import require_tested_images
from modprompt.experiments.plan.protocols import APART
from modprompt.io.settings import Settings
from modprompt.methods.search.file import expanded
from modprompt.output import muted
from modprompt.programs import import_modules


def check(jobs: Sequence[Job], out: Path, data: Path) -> list[str]:
    """Check the settings of one run of each method and data set.

    Args:
        jobs: the runs.
        out: the output folder.
        data: the folder of the data sets.

    Returns:
        Each warning once, with the methods that the warning is about.

    Raises:
        UserError: on unknown trainers, keys or values; the message names the method.
    """
    from modprompt.compat import find as compat

    compat.add_to_path()
    import modprompt.data.readers.all
    import modprompt.trainers.all  # noqa: F401

    import_modules(list(dict.fromkeys(name for job in jobs for name in job.method.imports)))
    examples: dict[tuple[Any, ...], Job] = {}
    for job in jobs:
        _require_separate_tests(job)
        examples.setdefault((job.method.label, job.dataset, job.kind == SEARCH, job.column == VALIDATION), job)
    methods_of: dict[str, dict[str, None]] = {}
    for job in examples.values():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                _check_job(job, out, data)
            except ValueError as error:
                name = f"{SEARCH} of" if job.kind == SEARCH else "method"
                raise UserError(f"{name} {job.method.label}: {error}") from None
        for warning in caught:
            if warning.category is UserWarning:
                methods_of.setdefault(str(warning.message), {})[job.method.label] = None
    return [f"{', '.join(labels)}: {message}" for message, labels in methods_of.items()]


def _require_separate_tests(job: Job) -> None:
    """Raise UserError if a method that uses images of all classes does not test base and new classes separately."""
    of_base = ("DATASET.SUBSAMPLE_CLASSES", "base")
    is_separate = job.column == APART or of_base in (job.options if job.is_test else job.first_stage_options or ())
    if tests_apart(job.method.trainer) and not is_separate:
        raise UserError(
            f"The method {job.method.label} trains on unlabelled images of all classes, so base and new classes must "
            "be tested separately. Use the protocol `base2new`, or the protocol `validation` with `classes: base`."
        )


def _check_job(job: Job, out: Path, data: Path) -> None:
    first_stage, needs_result = job.first_stage, False
    if first_stage is not None:
        stage = FIRST_STAGES[job.method.first_stage_key]
        for key in ("MODEL.BACKBONE.NAME", "MODEL.BACKBONE.PATH"):
            earlier, later = planned_settings(first_stage).get(key, ""), planned_settings(job).get(key, "")
            if earlier != later:
                raise UserError(
                    f"{key} is {later!r}, but {stage.name} uses {earlier!r}. Both training runs need the same CLIP "
                    "model."
                )
        # the schedule of a finished search is checked, but the models of other first stages are not loaded
        needs_result = stage.is_method or bool(stage.find_missing(out / first_stage.folder))
    rounds.require_registered(job)
    try:
        _check_settings(job_settings(job._replace(first_stage=None) if needs_result else job, out, data), job)
    except SettingError as error:
        if not needs_result or any(not stage.determines(key) for key, _ in error.faults):
            raise  # otherwise, the first stage will determine the missing settings


def job_settings(job: Job, out: Path, data: Path) -> Settings:
    """Return the settings of the command of a run, with the content of files that values name.

    Raises:
        UserError: if a setting or a named file is wrong.
    """
    files = [str(config_file(job.dataset)), str(job.method.config)]
    flags: dict[str, Any] = {"DATASET.ROOT": str(data), "OUTPUT_DIR": str(out / job.folder)}
    flags.update({"TRAINER.NAME": job.method.trainer, "SEED": job.seed})
    return expanded(Settings.read(files, flags, options(job, out)))


def _check_settings(settings: Settings, job: Job) -> None:
    from dassl.data.datasets import DATASET_REGISTRY
    from dassl.engine import TRAINER_REGISTRY

    from modprompt.data.reader import require_only_tests
    from modprompt.trainers import backbone, config
    from modprompt.trainers.prompt_trainer import PromptTrainer

    with muted():  # each run prints these notes itself
        cfg = config.of_settings(settings, job.is_test)
    reader = DATASET_REGISTRY.get(cfg.DATASET.NAME)
    require_only_tests(reader, not job.is_test)
    require_tested_images(reader, cfg, job.is_test)
    if job.kind == SEARCH and not cfg.SEARCH.RUNS:
        raise UserError(
            f"{cfg.TRAINER.NAME} does not search for a schedule. Set SEARCH.ON to True, or use the trainer DPLSearch."
        )
    rounds.check(cfg, job)
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    if not issubclass(trainer, PromptTrainer):  # a trainer of a codebase
        trainer.check_cfg(trainer.__new__(trainer), cfg)
    else:
        trainer.require_settings(cfg)
        backbone.require_there(cfg)
