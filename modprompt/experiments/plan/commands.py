"""A run as a command of train.py, and the settings that its result must show: both from the same three sources."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from modprompt.experiments.plan.experiment import dataset_config
from modprompt.experiments.plan.protocols import Job
from modprompt.places import ROOT
from modprompt.runs.settings import FREE, as_text, read_settings


def command(job: Job, out: Path, data: Path) -> list[str]:
    """The words that run a job: interpreter, train.py, flags, options; all paths are absolute."""
    words = [sys.executable, str(ROOT / "train.py"), "--root", str(data), "--trainer", job.method.trainer]
    words += ["--seed", str(job.seed), "--output-dir", str(out / job.folder), "--config-file", str(job.method.config)]
    words += ["--dataset-config-file", str(dataset_config(job.dataset))]
    if job.tests:
        words += ["--eval-only", *(["--model-dir", str(out / job.parent.folder)] if job.parent else [])]
    return words + [word for pair in (*job.method.options, *job.options) for word in pair]


@functools.lru_cache(maxsize=None)
def _of_files(files: tuple[tuple[str, int], ...], options: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Settings of files and options; the files come with the time of their last change."""
    layers = [*(read_settings(path) for path, _ in files), dict(options)]
    return {key: as_text(value) for layer in layers for key, value in layer.items()}


def _stamped(path: Path) -> tuple[str, int]:
    return str(path), path.stat().st_mtime_ns if path.is_file() else 0


def effective(job: Job) -> dict[str, str]:
    """All settings that a job's files and options give.

    Raises:
        UserError: if a config file is gone or no YAML.
    """
    files = tuple(_stamped(path) for path in (dataset_config(job.dataset), job.method.config))
    settings = dict(_of_files(files, job.method.options))
    settings.update((key, as_text(text)) for key, text in job.options)
    settings.update({"TRAINER.NAME": job.method.trainer, "SEED": str(job.seed)})
    return settings


def expected(job: Job) -> dict[str, str]:
    """The settings that the result of a job must show, as train.py records them.

    Raises:
        UserError: if a config file is gone or no YAML.
    """
    return {key: text for key, text in effective(job).items() if key not in FREE}
