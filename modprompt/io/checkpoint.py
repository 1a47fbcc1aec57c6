"""A checkpoint of learned prompts: what it holds, ours and the family's.

Ours, under the key `modprompt` next to the family's state_dict, epoch and val_result, says what the prompts are:
method, schedules, classes, CLIP, and the run that made them. It holds plain values; no file that it names is opened.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from modprompt.errors import UserError
from modprompt.feature import features
from modprompt.io import json_text
from modprompt.io.checkpoint_files import BEST, checkpoint_at
from modprompt.io.checkpoint_schema import HEAD_OF_RECORD, MOST_EPOCHS, RECORD, require_tensors
from modprompt.io.checksum import KEY, check_seal, sealed
from modprompt.io.compare import tokenizer_said
from modprompt.io.content_hashes import facts_of_methods
from modprompt.io.safe_open import Refused
from modprompt.io.safetensors_files import read_with_metadata
from modprompt.io.schema import shown
from modprompt.io.tensors import read_tensors

VERSION = 2
SAFETENSORS = ".safetensors"
FINISHED = ("class_matrix", "logit_scale")  # tensors (C, E) and () of such a file, besides what was learned
_Written = tuple[dict[str, Tensor], dict[str, str]]
_TO_DO = "use another copy of it"


class Checkpoint(NamedTuple):
    """The content of a checkpoint; empty where it has none.

    state_dict: its tensors, under the family's names.
    epoch: number of finished epochs.
    made_with: what it can only be used with, as {name: text}.
    class_list: tells one list of class names from another; see class_list().
    settings: of the run that made it, as {name: text}.
    clip: what is known about its CLIP, as clips.ClipFacts makes it.
    record: all of ours; empty in the family's.
    val_result: accuracy on validation images in percent, where the epoch was chosen by it.
    """

    state_dict: Mapping[str, Tensor]
    epoch: int
    made_with: dict[str, str]
    class_list: str
    settings: dict[str, str]
    clip: dict[str, Any]
    record: dict[str, Any]
    val_result: float | None = None

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

    Raises:
        UserError: if the file is not a whole checkpoint, or has a newer version.
    """
    content = _of_safetensors(path) if str(path).endswith(SAFETENSORS) else read_tensors(path)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict", content), dict):
        raise UserError(f"{path} is not a checkpoint of a prompt learner")
    content = content if "state_dict" in content else {"state_dict": content}
    if not isinstance(content.get(KEY), dict):
        return _of_others(content)
    try:
        require_tensors(content["state_dict"])
        return _of_record(content, path)
    except Refused as error:
        raise UserError(f"{path} is damaged ({error}): {_TO_DO}") from None


def as_safetensors(state: Mapping[str, Tensor], head: Mapping[str, Any], finished: Mapping[str, Tensor]) -> _Written:
    """A checkpoint as tensors and metadata of a safetensors file, which `read` reads.

    Args:
        state: the learned tensors, under the family's names.
        head: epoch, val_result and, under `modprompt`, the record.
        finished: FINISHED, made from them, for programs without this project; not read again.
    """
    return {**state, **finished}, {KEY: json.dumps(head)}


def _of_safetensors(path: str | Path) -> dict[str, Any]:
    """The content of a safetensors file in the form of a torch.save file; without a record only the tensors."""
    tensors, texts = read_with_metadata(path)
    finished = FINISHED if FINISHED[0] in tensors else ()  # a head has none, and may have a tensor of that name
    state = {name: one for name, one in tensors.items() if name not in finished}
    if KEY not in texts:
        return {"state_dict": state}
    try:
        head = json_text.parse(texts[KEY])
        if not isinstance(head, dict) or not isinstance(head.get(KEY), dict):
            raise Refused(f"its {KEY} is no record")
    except Refused as error:
        raise UserError(f"{path} is damaged ({error}): {_TO_DO}") from None
    return {**head, "state_dict": state}


def _of_others(content: dict[Any, Any]) -> Checkpoint:
    """The content of a checkpoint of the family."""
    state_dict = {key: value for key, value in content["state_dict"].items() if isinstance(key, str)}
    return Checkpoint(state_dict, _epochs(content.get("epoch")), {}, "", {}, {}, {})


def _epochs(value: Any) -> int:
    """A number of epochs, also as NumPy or PyTorch has one; 0 if it is none."""
    number = value.item() if tuple(getattr(value, "shape", (0,))) == () else value
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    return int(number) if is_number and 0 <= number <= MOST_EPOCHS and number == int(number) else 0


def _of_record(content: dict[str, Any], path: str | Path) -> Checkpoint:
    found = content[KEY]
    version = found.get("version")
    if type(version) is not int or version > VERSION:
        raise UserError(f"{path} has version {shown(version)}, made by a newer modprompt: update this one")
    if version != VERSION:
        raise Refused(f"its version is {version}")
    check_seal({KEY: found}, path, _TO_DO)
    RECORD(found, KEY)
    HEAD_OF_RECORD(content, "")
    parts = {key: found.get(key, {}) for key in ("method", "classes", "clip", "run")}
    method = parts["method"]
    made_with = {
        f"{one['node']}.{key}": str(value)
        for one in (method, method.get("beside"))
        if one
        for key, value in one["config"].items()
    }
    for one in features():
        own = method.get(one.name, {}) if one.in_records else {}
        made_with.update({f"{one.node}.{field.upper()}": str(value) for field, value in own.items()})
    made_with.update({name: method[name] for name in facts_of_methods() if name in method})
    made_with["the method"] = method["learner"]
    made_with["the weights of CLIP"] = parts["clip"].get("fingerprint", "")
    made_with.update(tokenizer_said(parts["clip"]))
    settings = parts["run"].get("settings", {})
    names = class_list(parts["classes"]["names"])
    result, clip = content.get("val_result"), parts["clip"]
    return Checkpoint(content["state_dict"], content["epoch"], made_with, names, settings, clip, dict(found), result)


def chosen_checkpoint(path: str | Path, epoch: int | None = None) -> str:
    """Path of the checkpoint that a path means: for a run's output folder that of an epoch, its best or its last.

    Raises:
        UserError: if there is none, or it is the last of a run that should have tested its best.
    """
    found = checkpoint_at(path, epoch)
    if epoch is None and os.path.isdir(path):
        require_best(found)
    return found


def require_best(path: str, best: bool = False) -> None:
    """Raise UserError if a run's checkpoint is its last, though its best epoch's should be used.

    Args:
        path: of the checkpoint.
        best: whether that is asked for, whatever the run says.
    """
    if os.path.basename(path) == BEST or not (best or read(path).settings.get("TEST.FINAL_MODEL") == "best_val"):
        return
    raise UserError(
        f"{os.path.dirname(path)} has no {BEST}, the best epoch, which was to be tested (TEST.FINAL_MODEL best_val): "
        "put it back, or say which epoch (--load-epoch, --epoch)"
    )
