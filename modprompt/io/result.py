"""result.json, the mark of a finished run: read, and believed only if it is whole."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.errors import UserError
from modprompt.io.files import PathLike
from modprompt.io.records import check_seal, read_json

FILE_NAME = "result.json"
NO_TEST, NO_IMAGES = "TEST.NO_TEST", "no test images"  # why a run has no accuracy; under "untested"
# in the environment of runs that are started together: how many at once, how many of them on this run's GPU, and the
# share of the GPU's memory that it may use (above 0, up to 1)
JOBS, ON_GPU, GPU_SHARE = "MODPROMPT_JOBS", "MODPROMPT_RUNS_ON_GPU", "MODPROMPT_GPU_SHARE"
IN_EXPERIMENT = "MODPROMPT_IN_EXPERIMENT"  # set in the environment of an experiment's runs
VERSION = 3  # of the record
# in results, checkpoints and records of rounds: that a training's images changed meanwhile; its text
IMAGES_CHANGED, CHANGED_DURING = "images_changed", "training images changed during the run"
UNKNOWN_BELOW = "unknown_below"  # the entry of the probability below which `predict --unknown auto` knows no class
NOT_KNOWN = "not known"  # the status of a split
BY_CLASS = "by class"  # in place of a number of shots, if each class has its own number
# the images on which a run selects the best checkpoint or hyperparameters
VALIDATION, HELD_OUT, TEST = "validation", "held out", "test"
WHOLE = "the whole validation split"
AS_TRAINING = "as many validation images as of training"
BEYOND_THE_RULE = (TEST, WHOLE, AS_TRAINING)  # a result that was selected on these images is marked
OOD, NEW = "ood", "new"  # the entry of TEST.OOD; as that setting: the other half of the run's own data set


def mark(*selected_on: str) -> str:
    """Return the mark of a result that was selected on these images; empty if the project's rule allows all of them."""
    return next((f"selected on {one}" for one in selected_on if one in BEYOND_THE_RULE), "")


def mark_of(result: Mapping[str, Any]) -> str:
    """Return the mark of a result, also of a result that is not written yet; empty if the result has no mark."""
    return str(result.get("selected_on_test") or mark(str(result.get("selected_on") or "")))


def of_unknown(result: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a result says of images of unknown classes; nothing if it was not tested so."""
    found = (result or {}).get(OOD)
    return found if isinstance(found, dict) else {}


def lacks_unknown(result: Mapping[str, Any], asked: str) -> str:
    """That a result was not tested against the unknown classes that TEST.OOD asks for; empty if it was, or none are."""
    return f"tested without TEST.OOD {asked}" if asked and of_unknown(result).get("of") != asked else ""


def runs_on_gpu() -> int | None:
    """How many runs share this process's GPU, as the process that started it said; None if it did not."""
    told = os.environ.get(ON_GPU, "")
    return int(told) if told.isdecimal() else None


def shared_gpu(result: Mapping[str, Any]) -> bool:
    """Whether others ran on the GPU of a result's run, so that its seconds say nothing."""
    return bool((result.get("runs_on_gpu") or 1) > 1)


def seconds(result: Mapping[str, Any] | None, name: str) -> float | None:
    """Seconds in a result that can be compared with others'; None if it does not say them, or runs shared its GPU."""
    return None if result is None or shared_gpu(result) else result.get(name)


class Read(NamedTuple):
    """A result, or None and the reason why there is none ("" if there is no file)."""

    result: dict[str, Any] | None
    why: str = ""


def read(folder: PathLike) -> Read:
    """The result in a run's folder, as it was written; accuracy_pct is None without images."""
    path = Path(folder) / FILE_NAME
    result = read_json(path)
    if result is None:
        return Read(None, f"{FILE_NAME} is damaged" if path.exists() else "")
    try:
        return Read(result) if check_seal(result, path) else Read(None, f"{FILE_NAME} is damaged (the hash is missing)")
    except UserError:
        return Read(None, f"{FILE_NAME} is damaged (its hash does not match)")


def has_split_file(result: Mapping[str, Any]) -> bool:
    """Return True if a result records a split file; the split of a folder of images has no file."""
    return any(name.rpartition("/")[2].startswith("split_") for name in result.get("files") or {})
