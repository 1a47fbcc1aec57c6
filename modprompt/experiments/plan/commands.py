"""A run as a command, and the settings that its result must show: both from the same three sources."""

from __future__ import annotations

import functools
import os
import shlex
from pathlib import Path

from modprompt import places
from modprompt.data.names import config_file
from modprompt.errors import SettingError
from modprompt.experiments.plan.experiment import Job, Pairs
from modprompt.experiments.plan.stages import stage_of
from modprompt.io.images import BY_CLASS, SHOTS_BY_CLASS
from modprompt.io.result import NEW
from modprompt.io.settings import Given, Settings, as_text, decisive, read_settings
from modprompt.methods.search.file import expanded

_NEW = ("TEST.OOD", NEW)
_SHOTS = "DATASET.NUM_SHOTS"


def command(job: Job, out: Path, data: Path) -> list[str]:
    """The words that run a job, in any folder, in the environment that places.environment() completes."""
    return places.program("train", *flags(job, out, data))


def shown(words: list[str]) -> str:
    """A command as it can be typed into a shell, in a folder without a modprompt of its own."""
    path = places.environment().get("PYTHONPATH")
    typed = [words[0], "-m", "modprompt", *words[len(places.program()) :]]
    return (f"PYTHONPATH={shlex.quote(path)} " if path else "") + shlex.join(typed)


def flags(job: Job, out: Path, data: Path) -> list[str]:
    """The flags and options of a job, as train.py accepts them; all paths are absolute."""
    words = ["--root", str(data), "--trainer", job.method.trainer]
    words += ["--seed", str(job.seed), "--output-dir", str(out / job.folder), "--config-file", str(job.method.config)]
    words += ["--dataset-config-file", str(config_file(job.dataset))]
    words += [word for name in job.method.import_words for word in ("--import", name)]
    if job.tests:
        words += ["--eval-only", *(["--model-dir", str(out / job.parent.folder)] if job.parent else [])]
    return words + options(job, out)


def options(job: Job, out: Path) -> list[str]:
    """The KEY VALUE words of a job. Test images are kept in the output folder unless its method says otherwise."""
    kept = [("TEST.IMAGE_CACHE", str(out / "image_cache"))] if job.method.image_cache else []
    kept += [("TEST.KEEP_FEATURES", "True")] if job.keeps else []
    features = os.pathsep.join(str(out / test.folder) for test in job.features)
    kept += [("TEST.FEATURES_OF", features)] if features else []
    pairs = (*kept, *_given(job), *options_of(job, out))
    return [word for pair in pairs for word in pair]


def _given(job: Job) -> Pairs:
    """Return the options of a job's method and protocol, as pairs of key and text.

    A file of unequal shots replaces the number of shots, and TEST.OOD new is left out unless the job tests the base
    classes alone.
    """
    pairs = tuple(pair for pair in (*job.method.options, *job.options) if pair != _NEW or tests_unknown(job))
    shots = dict(pairs).get(_SHOTS, "-1")
    if shots[0] in "-0":  # all images, or a test of other ones
        return tuple(pair for pair in pairs if pair[0] != SHOTS_BY_CLASS)
    unequal = job.method.shots_file or shots == BY_CLASS
    return tuple(pair for pair in pairs if pair[0] != _SHOTS) if unequal else pairs


def tests_unknown(job: Job) -> bool:
    """Whether a job's images can stand against those of the new classes: it tests the base classes alone."""
    return dict(job.options).get("DATASET.SUBSAMPLE_CLASSES") == "base"


_text = functools.cache(as_text)  # thousands of runs have the same settings


@functools.cache
def _of_file(path: Path, changed_ns: int) -> list[tuple[str, Given]]:
    """The settings of a file that was changed then."""
    return [(key, Given(as_text(value), f"file {path}")) for key, value in read_settings(str(path)).items()]


def effective(job: Job, more: Pairs = ()) -> dict[str, str]:
    """All settings that a job's files and options, and more options, give; a file that is not there yet stays a name.

    Raises UserError if a config file is gone or not YAML, or a file that is named in place of a value is damaged.
    """
    given: list[tuple[str, Given]] = []
    for path in (config_file(job.dataset), job.method.config):
        given += _of_file(path, path.stat().st_mtime_ns if path.is_file() else 0)
    given += [(key, Given(_text(word), "option")) for key, word in (*_given(job), *more)]
    settings = expanded(Settings(tuple(given)), planned=True)
    texts = {key: _text(str(setting.value)) for key, setting in settings.items()}
    return {**texts, "TRAINER.NAME": job.method.trainer, "SEED": str(job.seed)}


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
