"""A checkpoint of learned prompts: what it holds, ours and the family's.

Ours, under the key `modprompt` next to the family's state_dict, epoch and val_result, says what the prompts are:
method, schedules, classes, CLIP, and the run that made them. It holds plain values; no file that it names is opened.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modprompt.errors import UserError
from modprompt.io.checkpoint_files import BEST, checkpoint_at
from modprompt.io.files import Refused
from modprompt.io.records import KEY, check_seal, parse_json, sealed
from modprompt.io.safetensors_files import read_with_metadata
from modprompt.io.same_run import OF_METHODS, of_clip
from modprompt.io.tensors import read_tensors
from modprompt.programs import one_line

VERSION = 2
SAFETENSORS = ".safetensors"
_MOST_EPOCHS = 1 << 20
FINISHED = ("class_matrix", "logit_scale")  # tensors (C, E) and () of such a file, besides what was learned
CHOICE = ("selected_on", "searched", "selected_on_test")  # of an epoch, of a head's values
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_TO_DO = "use another copy of it"


class Checkpoint(NamedTuple):
    """The content of a checkpoint; empty where it has none."""

    state_dict: Mapping[str, Tensor]  # under the family's names
    epoch: int  # number of finished epochs
    made_with: dict[str, str]  # what it can only be used with, as {name: text}
    class_list: str  # see class_list()
    settings: dict[str, str]  # of the run that made it
    clip: dict[str, Any]  # ClipFacts as a record
    record: dict[str, Any]  # all that ours says; empty in others
    val_result: float | None = None  # accuracy on validation images in percent, where the epoch was chosen by it

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Names of the classes that it was trained on; none if it does not say them."""
        classes = self.record.get("classes", {})
        return tuple(classes.get("trained_on", classes.get("names", ())))


def class_list(names: Sequence[str]) -> str:
    """Twelve hex digits that tell one list of class names from another."""
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def record(**parts: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint holds under `modprompt`: method, schedules, classes, clip, versions, run, version and hash."""
    found: dict[str, Any] = sealed({}, VERSION, **parts)[KEY]
    return found


def read(path: str | Path) -> Checkpoint:
    """The content of a checkpoint file, of torch.save or, by its suffix, of safetensors.

    Raises UserError if the file is not a whole checkpoint, or has a newer version.
    """
    content = _of_safetensors(path) if str(path).endswith(SAFETENSORS) else read_tensors(path)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict", content), dict):
        raise UserError(f"{path} is not a checkpoint of a prompt learner")
    state = {key: value for key, value in content.get("state_dict", content).items() if isinstance(key, str)}
    if not isinstance(content.get(KEY), dict):
        return Checkpoint(state, _epochs(content.get("epoch")), {}, "", {}, {}, {})
    try:
        return _of_record({**content, "state_dict": state}, path)
    except (LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged (its record: {one_line(error)[:160]}): {_TO_DO}") from None


def require_learned(values: Mapping[str, Any]) -> None:
    """Raise Refused if a learned tensor, by name, is not made of finite numbers with a point."""
    for key, value in values.items():
        plain = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta
        if not plain or value.dtype not in _FLOATS:
            raise Refused(f"its {key} is no plain tensor of numbers with a point")
        if not torch.isfinite(value).all():
            raise Refused(f"its {key} is not made of finite numbers: the training went wrong")


def _of_safetensors(path: str | Path) -> dict[str, Any]:
    """The content of a safetensors file in the form of a torch.save file; without a record only the tensors."""
    tensors, texts = read_with_metadata(path)
    finished = FINISHED if FINISHED[0] in tensors else ()  # a head has none, and may have a tensor of that name
    state = {name: one for name, one in tensors.items() if name not in finished}
    if KEY not in texts:
        return {"state_dict": state}
    try:
        head = parse_json(texts[KEY])
        return {**head, KEY: dict(head[KEY]), "state_dict": state}
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged (its record: {one_line(error)[:160]}): {_TO_DO}") from None


def _epochs(value: Any) -> int:
    """A number of epochs, also as NumPy or PyTorch has one; 0 if it is none."""
    number = value.item() if tuple(getattr(value, "shape", (0,))) == () else value
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    return int(number) if is_number and 0 <= number <= _MOST_EPOCHS and number == int(number) else 0


def _of_record(content: dict[str, Any], path: str | Path) -> Checkpoint:
    found = content[KEY]
    if found["version"] != VERSION:
        raise UserError(f"{path} has version {found['version']!r:.40}, made by a newer modprompt: update this one")
    check_seal({KEY: found}, path, _TO_DO)
    method, classes, clip = found["method"], found["classes"], found.get("clip", {})
    made_with = {
        f"{one['node']}.{key}": str(value)
        for one in (method, method.get("beside"))
        if one
        for key, value in one["config"].items()
    }
    made_with.update({f"SEARCH.{field.upper()}": str(value) for field, value in method.get("search", {}).items()})
    made_with.update({name: method[name] for name in OF_METHODS if name in method})
    made_with["the method"] = method["learner"]
    made_with.update(of_clip(clip.get("fingerprint", ""), clip))
    settings = {str(key): str(value) for key, value in found.get("run", {}).get("settings", {}).items()}
    names = class_list(classes["names"])
    result = content.get("val_result")
    return Checkpoint(content["state_dict"], content["epoch"], made_with, names, settings, clip, found, result)


def chosen_checkpoint(path: str | Path, epoch: int | None = None) -> str:
    """Path of the checkpoint that a path means: for a run's output folder that of an epoch, its best or its last.

    Raises UserError if there is none, or it is the last of a run that should have tested its best.
    """
    found = checkpoint_at(path, epoch)
    if epoch is None and os.path.isdir(path):
        require_best(found)
    return found


def require_best(path: str, best: bool = False) -> None:
    """Raise UserError if a run's checkpoint is its last, though its best is asked for, here or by the run."""
    if os.path.basename(path) == BEST or not (best or read(path).settings.get("TEST.FINAL_MODEL") == "best_val"):
        return
    raise UserError(
        f"{os.path.dirname(path)} has no {BEST}, the best epoch, which was to be tested (TEST.FINAL_MODEL best_val): "
        "put it back, or say which epoch (--load-epoch, --epoch)"
    )
