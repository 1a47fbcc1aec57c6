"""The checkpoints in the output folder of a run: saving, finding and keeping them."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from modprompt.errors import UserError
from modprompt.io.checkpoint import POINTER, Checkpoint, find_checkpoint, newest_checkpoint, read
from modprompt.io.files import copy_whole, sha256_of, write_json, write_whole
from modprompt.io.records import read_json
from modprompt.io.tensors import write_tensors

_RECORD = "kept.json"  # {path below the output folder: SHA-256}


def has_checkpoint(directory: str, names: Iterable[str]) -> bool:
    """Return True if the folder of a run has a newest checkpoint for each of these models."""
    names = list(names)
    return bool(names) and all(os.path.isfile(os.path.join(directory, name, POINTER)) for name in names)


def newest_state(folder: str) -> Checkpoint:
    """Return the content of the checkpoint that the file `checkpoint` in the folder of a model names.

    Raises:
        UserError: if one of the two files is damaged.
    """
    try:
        path = newest_checkpoint(folder)
    except UserError:
        raise UserError(
            f"{os.path.join(folder, POINTER)} does not contain the name of a checkpoint in its folder. To start "
            f"again, delete {folder}."
        ) from None
    content = read(path)
    if not content.epoch:
        raise UserError(
            f"{path} is not a checkpoint of a training run because it records no epoch. Use another checkpoint."
        )
    return content


def save_checkpoint(state: dict[str, Any], folder: str, name: str = "") -> str:
    """Save a checkpoint as model.pth.tar-<epoch> or `name`, and write its name to the file `checkpoint`.

    Returns:
        The path.
    """
    name = name or f"model.pth.tar-{state['epoch']}"
    path = os.path.join(folder, name)
    write_tensors(path, state)
    write_whole(os.path.join(folder, POINTER), name + "\n")
    print(f"Checkpoint saved to {path}")
    return path


def _kept(directory: str) -> Path:
    return Path(directory, "job", "kept")


def keep_checkpoint(path: str, directory: str) -> None:
    """Copy a checkpoint to OUTPUT_DIR/job/kept, because some programs delete the model folder after the training.

    Args:
        path: the path of the checkpoint.
        directory: the output folder of the run.
    """
    name = Path(path).relative_to(directory)
    place = _kept(directory) / name
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        place.unlink()
    try:
        os.link(path, place)
    except OSError:  # another file system, or one without links
        copy_whole(path, place)
    record = _kept(directory) / _RECORD
    write_json(record, {**(read_json(record) or {}), name.as_posix(): sha256_of(path)})


def forget_kept(directory: str) -> None:
    """Delete the copies of checkpoints of an earlier training run in OUTPUT_DIR/job/kept."""
    shutil.rmtree(_kept(directory), ignore_errors=True)


def kept_checkpoint(directory: str, name: str, epoch: int | None = None) -> str:
    """Return the path of the copy of a checkpoint in OUTPUT_DIR/job/kept, or "" if there is no copy.

    Args:
        directory: the output folder of the run.
        name: the name of the model.
        epoch: the epoch as for `find_checkpoint`.
    """
    folder = _kept(directory) / name
    if (Path(directory) / name).exists() or not folder.is_dir():
        return ""
    path = Path(find_checkpoint(str(folder), epoch))
    recorded = (read_json(_kept(directory) / _RECORD) or {}).get(f"{name}/{path.name}")
    return str(path) if recorded == sha256_of(path) else ""
