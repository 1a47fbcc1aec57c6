"""A run as a command, and the settings that its result must show: both from the same three sources."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from modprompt import places
from modprompt.data.names import config_file
from modprompt.errors import SettingError
from modprompt.experiments.plan.experiment import Job, Pairs
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
def _of_file(path: str, changed_ns: int) -> dict[str, str]:
    return {key: as_text(value) for key, value in read_settings(path).items()}


@functools.cache
def _given(files: tuple[tuple[str, int], ...], own: Pairs) -> tuple[dict[str, str], bool]:
    """Settings of files, which come with the time of their last change, and options; and whether one names a file in
    place of its value."""
    found = {key: text for file in files for key, text in _of_file(*file).items()}
    found |= {key: as_text(text) for key, text in own}
    return found, _any_file(found.items())


def _any_file(settings: Iterable[tuple[str, str]]) -> bool:
    return any(named_by(*setting) is not None for setting in settings)


def effective(job: Job, more: Pairs = ()) -> dict[str, str]:
    """All settings that a job's files and options, and more options, give; a file that is not there yet stays a name.

    Raises UserError if a config file is gone or not YAML, or a file that is named in place of a value is damaged.
    """
    paths = (config_file(job.dataset), job.method.config)
    files = tuple((str(path), path.stat().st_mtime_ns if path.is_file() else 0) for path in paths)
    settings, names_file = _given(files, job.method.options)
    own = [(key, as_text(text)) for key, text in (*job.options, *more)]
    settings = settings | dict(own)
    if names_file or _any_file(own):
        given = [(key, Given(text, "file of the job")) for key, text in _given(files, ())[0].items()]
        given += [(key, Given(text, "option")) for key, text in (*job.method.options, *own)]
        settings = {key: as_text(found.value) for key, found in expanded(Settings(tuple(given)), planned=True).items()}
    return {**settings, "TRAINER.NAME": job.method.trainer, "SEED": str(job.seed)}


def expected(job: Job, out: Path) -> dict[str, str]:
    """The settings that the result of a job must show, as train.py records them; raises UserError as effective."""
    of_first = options_of(job, out)
    try:
        settings = effective(job, of_first)
    except SettingError:
        if not of_first:
            raise
        settings = {**effective(job), **dict(of_first)}  # they do not fit this method: its run says why
    return decisive(settings)


def options_of(job: Job, out: Path) -> Pairs:
    """The settings by which a job uses what its first stage leaves; none without one."""
    if job.first is None:
        return ()
    handed_on = stage_of(job.method.stage_of).handed_on(out / job.first.folder, job.method.trainer, effective(job))
    return tuple(handed_on.items())
