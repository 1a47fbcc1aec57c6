"""The checkpoints of a run: which files in its output folder they are, and what one holds, ours and the family's.

Ours, under the key `modprompt` next to the family's state_dict, epoch and val_result, says what the prompts are:
method, schedules, classes, CLIP, and the run that made them. It holds plain values; no file that it names is opened.
PyTorch is imported late, so that thousands of folders are searched quickly.
"""

import hashlib
import operator
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modprompt.errors import UserError
from modprompt.io import identity
from modprompt.io.files import PathLike, Refused, of_user, read_bytes, write_json, write_whole
from modprompt.io.records import KEY, check_seal, parse_json, read_json, sealed
from modprompt.io.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

BEST = "model-best.pth.tar"
POINTER = "checkpoint"  # the file that names the newest
SAFETENSORS = ".safetensors"
SAVED, DESCRIPTION = f"model{SAFETENSORS}", "config.json"  # of a saved model: its file, and a copy of the file's record
VERSION = 2
FINISHED = ("class_matrix", "logit_scale")  # tensors (C, E) and () of such a file, besides what was learned
CHOICE = ("selected_on", "searched", "selected_on_test")  # of an epoch, of a head's values
_TO_DO = "Use another copy of the file."


def _epoch_of(name: str) -> int:
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() and len(number) < 10 else -1


def _checkpoints(folder: PathLike) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name.startswith("model") and not entry.is_dir())


def model_folders(folder: PathLike) -> list[Path]:
    """The folders of a run's models, which hold their checkpoints; none if there is no such run."""
    inner = sorted(Path(folder).iterdir()) if os.path.isdir(folder) else []
    return [path for path in inner if path.is_dir() and _checkpoints(path)]


def _named(folder: str, wanted: str) -> str:
    names = _checkpoints(folder)
    if wanted not in names:
        available = ", ".join(names) or "none"
        missing = one_line(wanted)[:200]  # the name may come from a damaged file
        raise UserError(
            f"The checkpoint {missing} does not exist in {folder}. Available checkpoints: {available}. Choose the "
            "epoch of an available checkpoint with --epoch, or with --load-epoch in `modprompt train`."
        )
    return os.path.join(folder, wanted)


def newest_checkpoint(folder: str) -> str:
    """Path of the checkpoint that the file `checkpoint` names, or without that file of the highest epoch."""
    pointer = os.path.join(folder, POINTER)
    if not os.path.isfile(pointer):
        return _named(folder, max(_checkpoints(folder), key=_epoch_of, default="model.pth.tar-..."))
    name, *_ = read_bytes(pointer).decode("utf-8", "replace").split("\n")
    return _named(folder, name.strip() or "model.pth.tar-...")


def find_checkpoint(folder: str, epoch: int | None = None) -> str:
    """That of an epoch in a model's folder; without one the best, or else the newest. UserError names those there."""
    if not os.path.isdir(folder):
        raise UserError(
            f"No checkpoint found because the folder {folder} does not exist. Check --model-dir, or train first."
        )
    if epoch is None and BEST not in _checkpoints(folder):
        return newest_checkpoint(folder)
    return _named(folder, BEST if epoch is None else f"model.pth.tar-{epoch}")


def checkpoint_at(path: PathLike, epoch: int | None = None) -> str:
    """The file itself, or of a run's output folder as find_checkpoint; UserError if it has no model, or several."""
    if not os.path.isdir(path):
        return str(path)
    inner = model_folders(path)
    if not inner:
        raise UserError(f"{path} contains no trained model. Use the output folder of a run, or a checkpoint file.")
    if len(inner) > 1:
        raise UserError(
            f"{path} contains several models. Use the folder of a single model: {', '.join(map(str, inner))}."
        )
    return find_checkpoint(str(inner[0]), epoch)


def chosen_checkpoint(path: PathLike, epoch: int | None = None) -> str:
    """As checkpoint_at; UserError, too, if it is the last of a run that should have tested its best."""
    found = checkpoint_at(path, epoch)
    if epoch is None and os.path.isdir(path):
        require_best(found)
    return found


def require_best(path: str, best: bool = False) -> None:
    """Raise UserError if a run's checkpoint is its last, though its best is asked for, here or by the run."""
    if os.path.basename(path) == BEST or not (best or read(path).settings.get("TEST.FINAL_MODEL") == "best_val"):
        return
    raise UserError(
        f"The best checkpoint {os.path.join(os.path.dirname(path), BEST)} is missing, but is needed because "
        "TEST.FINAL_MODEL is best_val. Restore the file, or choose an epoch with --load-epoch or --epoch."
    )


def run_or_file(path: PathLike) -> Path:
    """What a user names: a run's output folder, or a checkpoint in it; raises UserError if nothing is there."""
    place = of_user(path)
    if not place.exists():
        raise UserError(f"{path} does not exist. Use the output folder of a run, or a checkpoint file.")
    return place


def require_free(folder: Path, file: Path) -> None:
    """Raise UserError if a folder contains something that a saved model, whose file is `file`, must not replace.

    That is a run, another checkpoint, or the config.json of another program.
    """
    others = [folder] if folder.exists() and not folder.is_dir() else []
    others += [folder / name for name in ("config.yaml", "result.json") if (folder / name).exists()]
    others += [model / name for model in model_folders(folder) for name in _checkpoints(model) if model / name != file]
    config = folder / DESCRIPTION
    if config.exists() and KEY not in (read_json(config) or {}):
        others.append(config)
    if others:
        raise UserError(
            f"Cannot save the model in {folder} because {others[0]} exists and is not part of a saved model. Use "
            "another folder."
        )


def write_description(folder: Path, file: Path, record: Mapping[str, Any]) -> None:
    """Make a folder that of a saved model: name its file as the newest checkpoint, and write a copy of its record."""
    write_whole(file.parent / POINTER, f"{file.name}\n")
    write_json(folder / DESCRIPTION, {KEY: dict(record)})


def require_description(folder: Path, file: PathLike) -> None:
    """Raise UserError if the config.json of a folder, if it has one, is not the record of its checkpoint `file`.

    A config.json of another program, which has no record, is accepted.
    """
    config, content = folder / DESCRIPTION, read_json(folder / DESCRIPTION)
    if not config.exists() or (content is not None and KEY not in content):
        return
    what_to_do = f"Restore or delete {DESCRIPTION}. Editing this file does not change the model."
    if content is None or not check_seal(content, config, what_to_do):
        raise UserError(f"{config} is not a valid description of a saved model. {what_to_do}")
    if content[KEY]["hash"] != read(file).record.get("hash"):
        raise UserError(f"{config} describes a different model than the model in {file}. {what_to_do}")


class Checkpoint(NamedTuple):
    """The content of a checkpoint; empty where it has none."""

    state_dict: "Mapping[str, Tensor]"  # under the family's names
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


def read(path: PathLike) -> Checkpoint:
    """The content of a file of torch.save or, by its suffix, safetensors; UserError if it is no whole checkpoint."""
    from modprompt.io.tensors import read_tensors

    try:
        content = _of_safetensors(path) if str(path).endswith(SAFETENSORS) else read_tensors(path)
        if not isinstance(content, dict) or not isinstance(content.get("state_dict", content), dict):
            raise UserError(f"{path} is not a checkpoint of a prompt-learning method. Check the path.")
        state = {key: value for key, value in content.get("state_dict", content).items() if isinstance(key, str)}
        if isinstance(content.get(KEY), dict):
            return _of_record(content, state, path)
    except (LookupError, TypeError, AttributeError, Refused) as error:
        raise UserError(
            f"{path} is damaged (invalid modprompt record: {one_line(str(error))[:160]}). {_TO_DO}"
        ) from None
    try:
        epoch = operator.index(content["epoch"])
    except (LookupError, TypeError):
        epoch = 0
    return Checkpoint(state, epoch, {}, "", {}, {}, {})


def _of_safetensors(path: PathLike) -> dict[str, Any]:
    """The content of a safetensors file in the form of a torch.save file; without a record only the tensors."""
    from modprompt.io.tensors import read_safetensors

    tensors, texts = read_safetensors(path)
    finished = FINISHED if FINISHED[0] in tensors else ()  # a head has none, and may have a tensor of that name
    state = {name: one for name, one in tensors.items() if name not in finished}
    if KEY not in texts:
        return {"state_dict": state}
    head = parse_json(texts[KEY])
    return {**head, KEY: dict(head[KEY]), "state_dict": state}


def _of_record(content: dict[str, Any], state: "dict[str, Tensor]", path: PathLike) -> Checkpoint:
    found = content[KEY]
    if found["version"] != VERSION:
        raise UserError(
            f"{path} has the format version {found['version']!r:.40}, which this version of modprompt does not "
            "support. Update modprompt."
        )
    check_seal({KEY: found}, path, _TO_DO)
    method, classes, clip = found["method"], found["classes"], found.get("clip", {})
    made_with = identity.made_with(method, identity.of_clip(clip.get("fingerprint", ""), clip))
    settings = {str(key): str(value) for key, value in found.get("run", {}).get("settings", {}).items()}
    names = class_list(classes["names"])
    return Checkpoint(state, content["epoch"], made_with, names, settings, clip, found, content.get("val_result"))
