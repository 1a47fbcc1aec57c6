"""A run as a command, and the settings that its result must show: both from the same three sources."""

from __future__ import annotations

import functools
import os
import shlex
from pathlib import Path
from typing import Any, Mapping, Sequence

from modprompt import places
from modprompt.data.names import config_file
from modprompt.errors import SettingError
from modprompt.experiments.plan.job import Job
from modprompt.io.settings import Given, Settings, as_text, is_free, read_settings
from modprompt.methods.search import file as schedule_file
from modprompt.methods.search import schedule_files
from modprompt.methods.table import BY_NAME

PROMPTS_FROM = "PROMPTS_FROM"  # the setting of a head that names trained prompts
_OF_SCHEDULE = (
    "SCHEDULE_",
    "LENGTHS_",
    "IMG_ALPHA_PATH",
    "TXT_ALPHA_PATH",
)  # how keys begin that say what a search finds


def is_of_schedule(key: str) -> bool:
    """Whether a setting says what a search finds."""
    return key.rpartition(".")[2].startswith(_OF_SCHEDULE)


def command(job: Job, out: Path, data: Path) -> list[str]:
    """The words that run a job, in any folder, in the environment that places.environment() completes."""
    return places.program("train", *flags(job, out, data))


def shown(words: Sequence[str]) -> str:
    """A command as it can be typed into a shell, in a folder without a modprompt of its own."""
    path = places.environment().get("PYTHONPATH")
    return (f"PYTHONPATH={shlex.quote(path)} " if path else "") + shlex.join(words)


def flags(job: Job, out: Path, data: Path) -> list[str]:
    """The flags and options of a job, as train.py takes them; all paths are absolute."""
    words = ["--root", str(data), "--trainer", job.method.trainer]
    words += ["--seed", str(job.seed), "--output-dir", str(out / job.folder), "--config-file", str(job.method.config)]
    words += ["--dataset-config-file", str(config_file(job.dataset))]
    words += [word for name in job.method.imports for word in ("--import", name)]
    if job.tests:
        words += ["--eval-only", *(["--model-dir", str(out / job.parent.folder)] if job.parent else [])]
    return words + options(job, out)


def options(job: Job, out: Path) -> list[str]:
    """The KEY VALUE words of a job. What it keeps is kept in the output folder unless its method says where, or not."""
    kept = [("TEST.IMAGE_CACHE", str(out / "image_cache"))] if job.method.image_cache else []
    kept += [("TEST.KEEP_FEATURES", "True")] if job.keeps else []
    features = os.pathsep.join(str(out / test.folder) for test in job.features)
    kept += [("TEST.FEATURES_OF", features)] if features else []
    return [word for pair in (*kept, *job.method.options, *job.options, *options_of(job, out)) for word in pair]


@functools.lru_cache(maxsize=None)
def _of_file(path: str, changed: int) -> Mapping[str, Any]:
    """Settings of a file, by the time of its last change: many jobs share it."""
    return read_settings(path)


@functools.lru_cache(maxsize=None)
def _of_files(files: tuple[tuple[str, int], ...], options: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Settings of files and options; the files come with the time of their last change."""
    layers: list[Mapping[str, Any]] = [*(_of_file(*file) for file in files), dict(options)]
    return {key: as_text(value) for layer in layers for key, value in layer.items()}


def _stamped(path: Path) -> tuple[str, int]:
    return str(path), path.stat().st_mtime_ns if path.is_file() else 0


def effective(job: Job, more: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    """All settings that a job's files and options give; a schedule's file that is not there yet stays a name.

    Args:
        job: the run.
        more: further options, (key, text) pairs.

    Raises:
        UserError: if a config file is gone or no YAML, or a schedule's file is damaged.
    """
    files = tuple(_stamped(path) for path in (config_file(job.dataset), job.method.config))
    settings = dict(_of_files(files, job.method.options))
    settings.update((key, as_text(text)) for key, text in (*job.options, *more))
    if any(map(schedule_files.may_name_a_file, settings.items())):
        settings = _expanded(_of_files(files, ()), (*job.method.options, *job.options, *more))
    settings.update({"TRAINER.NAME": job.method.trainer, "SEED": str(job.seed)})
    return settings


def _expanded(of_files: Mapping[str, str], options: Sequence[tuple[str, str]]) -> dict[str, str]:
    given = [(key, Given(text, "file of the job")) for key, text in of_files.items()]
    given += [(key, Given(text, "option")) for key, text in options]
    read = schedule_files.expanded(Settings(tuple(given)), planned=True)
    return {key: as_text(found.value) for key, found in read.items()}


def expected(job: Job, out: Path) -> dict[str, str]:
    """The settings that the result of a job must show, as train.py records them.

    Raises:
        UserError: as effective.
    """
    of_search = options_of(job, out)
    try:
        settings = effective(job, of_search)
    except SettingError:
        if not of_search:
            raise
        settings = {**effective(job), **dict(of_search)}  # of no use for this method: its run tells why
    return {key: text for key, text in settings.items() if not is_free(key, text)}


def file_of(search: Job, out: Path) -> Path:
    """What a search leaves."""
    return out / search.folder / schedule_file.FILE_NAME


def front_of(job: Job, out: Path) -> tuple[tuple[str, str], ...]:
    """The setting by which a head takes the prompts that its first stage trains; none without such a stage."""
    if job.first is None or not job.first.is_front:
        return ()
    return ((f"{BY_NAME[job.method.trainer].node}.{PROMPTS_FROM}", str(out / job.first.folder)),)


def options_of(job: Job, out: Path) -> tuple[tuple[str, str], ...]:
    """The settings, (key, text) pairs, by which a job takes what its first stage leaves; none without one."""
    if job.first is None or job.first.is_front:
        return front_of(job, out)
    row = BY_NAME[job.method.trainer]
    return tuple((f"{row.node}.SCHEDULE_{side.upper()}", f"@{file_of(job.first, out)}") for side in row.sides)
