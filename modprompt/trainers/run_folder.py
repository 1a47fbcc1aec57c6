"""Checkpoints in a run's output folder."""

import os
from typing import Iterable, List

from modprompt.errors import UserError
from modprompt.learners.view import read_checkpoint
from modprompt.storage.opening import read_bytes
from modprompt.storage.tensors import write_tensors
from modprompt.storage.text import write_whole

POINTER = "checkpoint"  # the file that names the newest


def _epoch_of(name: str) -> int:
    number = name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def _checkpoints(folder: str) -> List[str]:
    return sorted(name for name in os.listdir(folder) if name.startswith("model") and not name.endswith(".part"))


def newest_checkpoint(folder: str) -> str:
    """Path of the checkpoint that the file `checkpoint` names, or without that file of the highest epoch.

    Raises:
        UserError: if there is none; those that are there are named.
    """
    names, wanted = _checkpoints(folder), "model.pth.tar-..."
    pointer = os.path.join(folder, POINTER)
    if os.path.isfile(pointer):
        lines = read_bytes(pointer, 1 << 16).decode("utf-8", "replace").splitlines() or [""]
        wanted = lines[0].strip() or wanted
    else:
        wanted = max(names, key=_epoch_of, default=wanted)
    if wanted not in names:
        raise UserError(f"no {wanted} in {folder}; there is: {', '.join(names) or 'nothing'}; see --load-epoch")
    return os.path.join(folder, wanted)


def has_checkpoint(directory: str, names: Iterable[str]) -> bool:
    """Whether a run's folder names a newest checkpoint of every model of these names."""
    names = list(names)
    return bool(names) and all(os.path.isfile(os.path.join(directory, name, POINTER)) for name in names)


def newest_state(folder: str) -> dict:
    """The content of the checkpoint that the file `checkpoint` of a model's folder names.

    Raises:
        UserError: if either is damaged.
    """
    try:
        path = newest_checkpoint(folder)
    except UserError:
        raise UserError(
            f"{os.path.join(folder, POINTER)} does not name a checkpoint beside it: delete {folder} to start anew"
        ) from None
    content = read_checkpoint(path)
    if not isinstance(content.get("epoch"), int):
        raise UserError(f"{path} is not a checkpoint of a training run: it has no epoch")
    return content


def save_checkpoint(state: dict, folder: str, name: str = "") -> str:
    """Save `state` whole as model.pth.tar-<epoch>, or `name`, in a model's folder, and name it in `checkpoint`.

    Returns:
        The path.
    """
    name = name or f"model.pth.tar-{state['epoch']}"
    path = os.path.join(folder, name)
    write_tensors(path, state)
    write_whole(os.path.join(folder, POINTER), name + "\n")
    print(f"Checkpoint saved to {path}")
    return path


def find_checkpoint(folder: str, epoch=None) -> str:
    """Path of a model's checkpoint.

    Args:
        folder: the model's folder inside a run's output folder.
        epoch: which epoch's; without it model-best.pth.tar, or if there is none the newest.

    Raises:
        UserError: if there is none; those that are there are named.
    """
    if not os.path.isdir(folder):
        raise UserError(f"no checkpoint: there is no folder {folder}; check --model-dir and train first")
    names = _checkpoints(folder)
    wanted = "model-best.pth.tar" if epoch is None else f"model.pth.tar-{epoch}"
    if epoch is None and wanted not in names:
        return newest_checkpoint(folder)
    if wanted not in names:
        raise UserError(f"no {wanted} in {folder}; there is: {', '.join(names) or 'nothing'}; see --load-epoch")
    return os.path.join(folder, wanted)
