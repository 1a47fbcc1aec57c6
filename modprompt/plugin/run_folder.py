"""Checkpoints in a run's output folder."""

import os
from typing import List

from modprompt.errors import UserError


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
    pointer = os.path.join(folder, "checkpoint")
    if os.path.isfile(pointer):
        with open(pointer, encoding="utf-8", errors="replace") as file:
            wanted = file.readline().strip() or wanted
    else:
        wanted = max(names, key=_epoch_of, default=wanted)
    if wanted not in names:
        raise UserError(f"no {wanted} in {folder}; there is: {', '.join(names) or 'nothing'}; see --load-epoch")
    return os.path.join(folder, wanted)


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
