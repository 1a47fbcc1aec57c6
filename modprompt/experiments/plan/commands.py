"""A run as a command, and the settings that its result must show: both from the same three sources."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modprompt import places
from modprompt.data.names import config_file
from modprompt.errors import SettingError
from modprompt.experiments.plan.job import Job
from modprompt.experiments.plan.stages import stage_of
from modprompt.io.settings import Given, Settings, as_text, decisive, read_settings
from modprompt.methods.search.file import expanded, named_by


def command(job: Job, out: Path, data: Path) -> list[str]:
    """The words that run a job, in any folder, in the environment that places.environment() completes."""
    return places.program("train", *flags(job, out, data))


def shown(words: Sequence[str]) -> str:
    """A command as it can be typed into a shell, in a folder without a modprompt of its own."""
    path = places.environment().get("PYTHONPATH")
    typed = [words[0], "-m", "modprompt", *words[len(places.program()) :]]
    return (f"PYTHONPATH={shlex.quote(path)} " if path else "") + shlex.join(typed)


def flags(job: Job, out: Path, data: Path) -> list[str]:
    """The flags and options of a job, as train.py accepts them; all paths are absolute."""
    words = ["--root", str(data), "--trainer", job.method.trainer]
    words += ["--seed", str(job.seed), "--output-dir", str(out / job.folder), "--config-file", str(job.method.config)]
    words += ["--dataset-config-file", str(config_file(job.dataset))]
    words += [word for name in job.method.imports for word in ("--import", name)]
    if job.tests:
        words += ["--eval-only", *(["--model-dir", str(out / job.parent.folder)] if job.parent else [])]
    return words + options(job, out)


def options(job: Job, out: Path) -> list[str]:
    """The KEY VALUE words of a job. Test images are kept in the output folder unless its method says otherwise."""
    kept = [("TEST.IMAGE_CACHE", str(out / "image_cache"))] if job.method.image_cache else []
    kept += [("TEST.KEEP_FEATURES", "True")] if job.keeps else []
    features = os.pathsep.join(str(out / test.folder) for test in job.features)
    kept += [("TEST.FEATURES_OF", features)] if features else []
    return [word for pair in (*kept, *job.method.options, *job.options, *options_of(job, out)) for word in pair]


@functools.cache
def _of_file(path: str, changed: int) -> Mapping[str, Any]:
    """Settings of a file, by the time of its last change: many jobs share it."""
    return read_settings(path)


@functools.cache
def _of_files(files: tuple[tuple[str, int], ...], options: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Settings of files and options; the files come with the time of their last change."""
    layers: list[Mapping[str, Any]] = [*(_of_file(*file) for file in files), dict(options)]
    return {key: as_text(value) for layer in layers for key, value in layer.items()}


@functools.cache
def _names_file(files: tuple[tuple[str, int], ...], options: tuple[tuple[str, str], ...]) -> bool:
    """Whether a setting of files and options names a file in place of its value."""
    return _any_file(_of_files(files, options).items())


def _any_file(settings: Iterable[tuple[str, str]]) -> bool:
    return any(named_by(*setting) is not None for setting in settings)


def _stamped(path: Path) -> tuple[str, int]:
    return str(path), path.stat().st_mtime_ns if path.is_file() else 0


def effective(job: Job, more: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    """All settings that a job's files and options give; a file that is not there yet stays a name.

    Args:
        job: the run.
        more: further options, (key, text) pairs.

    Raises:
        UserError: if a config file is gone or not YAML, or a file that is named in place of a value is damaged.
    """
    files = tuple(_stamped(path) for path in (config_file(job.dataset), job.method.config))
    settings = dict(_of_files(files, job.method.options))
    own = [(key, as_text(text)) for key, text in (*job.options, *more)]
    settings.update(own)
    if _names_file(files, job.method.options) or _any_file(own):
        settings = _expanded(_of_files(files, ()), (*job.method.options, *job.options, *more))
    settings.update({"TRAINER.NAME": job.method.trainer, "SEED": str(job.seed)})
    return settings


def _expanded(of_files: Mapping[str, str], options: Sequence[tuple[str, str]]) -> dict[str, str]:
    given = [(key, Given(text, "file of the job")) for key, text in of_files.items()]
    given += [(key, Given(text, "option")) for key, text in options]
    return {key: as_text(found.value) for key, found in expanded(Settings(tuple(given)), planned=True).items()}


def expected(job: Job, out: Path) -> dict[str, str]:
    """The settings that the result of a job must show, as train.py records them.

    Raises:
        UserError: as effective.
    """
    of_first = options_of(job, out)
    try:
        settings = effective(job, of_first)
    except SettingError:
        if not of_first:
            raise
        settings = {**effective(job), **dict(of_first)}  # they do not fit this method: its run says why
    return decisive(settings)


def options_of(job: Job, out: Path) -> tuple[tuple[str, str], ...]:
    """The settings, (key, text) pairs, by which a job uses what its first stage leaves; none without one."""
    if job.first is None:
        return ()
    return stage_of(job.method.stage_of).handed_on(out / job.first.folder, job.method.trainer, effective(job))
