"""Checkpoints in a run's output folder, saved and gone on from."""

import os
from typing import Any, Dict, Iterable

from modprompt.errors import UserError
from modprompt.runs.checkpoint import Checkpoint, read
from modprompt.runs.checkpoint_files import POINTER, newest_checkpoint
from modprompt.storage.tensors import write_tensors
from modprompt.storage.text import write_whole


def has_checkpoint(directory: str, names: Iterable[str]) -> bool:
    """Whether a run's folder names a newest checkpoint of every model of these names."""
    names = list(names)
    return bool(names) and all(os.path.isfile(os.path.join(directory, name, POINTER)) for name in names)


def newest_state(folder: str) -> Checkpoint:
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
    content = read(path)
    if not content.epoch:
        raise UserError(f"{path} is not a checkpoint of a training run: it has no epoch")
    return content


def save_checkpoint(state: Dict[str, Any], folder: str, name: str = "") -> str:
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
