"""A run as a command, and the settings that the result of this command must contain."""

from __future__ import annotations

import functools
import os
import shlex
from pathlib import Path

from modprompt import places
from modprompt.data.names import config_file
from modprompt.errors import SettingError
from modprompt.experiments.plan.experiment import Job, Pairs
from modprompt.experiments.plan.first_stages import FIRST_STAGES
from modprompt.io.identity import decisive
from modprompt.io.result import BY_CLASS, NEW
from modprompt.io.settings import SHOTS_BY_CLASS, Given, Settings, as_text, read_settings
from modprompt.methods.search.file import expanded

_OOD_OF_NEW = ("TEST.OOD", NEW)
_SHOTS = "DATASET.NUM_SHOTS"


def command(job: Job, out: Path, data: Path) -> list[str]:
    """Return the command that starts a run. The command needs the environment variables of places.environment()."""
    return places.program("train", *flags(job, out, data))


def shell_command(words: list[str]) -> str:
    """Return a command as a user can type it into a shell."""
    path = places.environment().get("PYTHONPATH")
    typed = [words[0], "-m", "modprompt", *words[len(places.program()) :]]
    return (f"PYTHONPATH={shlex.quote(path)} " if path else "") + shlex.join(typed)


def flags(job: Job, out: Path, data: Path) -> list[str]:
    """Return the arguments of `modprompt train` for a run; all paths are absolute."""
    words = ["--root", str(data), "--trainer", job.method.trainer]
    words += ["--seed", str(job.seed), "--output-dir", str(out / job.folder), "--config-file", str(job.method.config)]
    words += ["--dataset-config-file", str(config_file(job.dataset))]
    words += [word for name in job.method.imports for word in ("--import", name)]
    if job.is_test:
        words += ["--eval-only", *(["--model-dir", str(out / job.training.folder)] if job.training else [])]
    return words + options(job, out)


def options(job: Job, out: Path) -> list[str]:
    """Return the KEY VALUE arguments of a run."""
    pairs = [("TEST.IMAGE_CACHE", str(out / "image_cache"))] if job.method.image_cache else []
    pairs += [("TEST.KEEP_FEATURES", "True")] if job.keeps_features else []
    features = os.pathsep.join(str(out / test.folder) for test in job.feature_tests)
    pairs += [("TEST.FEATURES_OF", features)] if features else []
    return [word for pair in (*pairs, *_explicit(job), *first_stage_options(job, out)) for word in pair]


def _explicit(job: Job) -> Pairs:
    """Return the options of the method and the protocol of a run.

    A file with the number of shots of each class replaces the number of shots, and TEST.OOD new is left out unless the
    run tests only base classes.
    """
    pairs = (*job.method.options, *job.options)
    pairs = tuple(pair for pair in pairs if pair != _OOD_OF_NEW or tests_base_classes(job))
    shots = dict(pairs).get(_SHOTS, "-1")
    if shots[0] in "-0":  # all images, or a test of other classes
        return tuple(pair for pair in pairs if pair[0] != SHOTS_BY_CLASS)
    has_shots_file = job.method.shots_file or shots == BY_CLASS
    return tuple(pair for pair in pairs if pair[0] != _SHOTS) if has_shots_file else pairs


def tests_base_classes(job: Job) -> bool:
    """Return True if a run tests only base classes, so that the new classes are unknown to the model."""
    return dict(job.options).get("DATASET.SUBSAMPLE_CLASSES") == "base"


_text = functools.cache(as_text)  # thousands of runs have the same settings


@functools.cache
def _settings_of_file(path: Path, changed_ns: int) -> list[tuple[str, Given]]:
    """Return the settings of a config file; `changed_ns` is the time of its last change."""
    return [(key, Given(as_text(value), f"file {path}")) for key, value in read_settings(str(path)).items()]


def planned_settings(job: Job, more: Pairs = ()) -> dict[str, str]:
    """Return all settings of a run as texts. A value that names a file stays a name if the file does not exist yet.

    Args:
        job: the run.
        more: further settings, which override the others.

    Raises:
        UserError: if a config file is missing or not valid YAML, or if a file that a value names is damaged.
    """
    layers: list[tuple[str, Given]] = []
    for path in (config_file(job.dataset), job.method.config):
        layers += _settings_of_file(path, path.stat().st_mtime_ns if path.is_file() else 0)
    layers += [(key, Given(_text(word), "option")) for key, word in (*_explicit(job), *more)]
    settings = expanded(Settings(tuple(layers)), planned=True)
    texts = {key: _text(str(setting.value)) for key, setting in settings.items()}
    return {**texts, "TRAINER.NAME": job.method.trainer, "SEED": str(job.seed)}


def expected_settings(job: Job, out: Path) -> dict[str, str]:
    """Return the settings that affect results, which the result of a run must contain; errors as planned_settings."""
    of_first_stage = first_stage_options(job, out)
    try:
        settings = planned_settings(job, of_first_stage)
    except SettingError:
        if not of_first_stage:
            raise
        # the run itself reports why the result of the first stage does not fit this method
        settings = {**planned_settings(job), **dict(of_first_stage)}
    return decisive(settings)


def first_stage_options(job: Job, out: Path) -> Pairs:
    """Return the settings with which a run uses the output folder of its first stage; () without a first stage."""
    if job.first_stage is None:
        return ()
    stage, folder = FIRST_STAGES[job.method.first_stage_key], out / job.first_stage.folder
    return tuple(stage.settings_for(folder, job.method.trainer, planned_settings(job)).items())
