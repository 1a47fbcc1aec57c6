"""The checkpoints of a run: which files in its output folder they are, by their names.

Nothing heavy is imported here, so that thousands of folders are searched quickly.
"""

import os
from pathlib import Path

from modprompt.errors import UserError
from modprompt.io.paths import of_user
from modprompt.io.safe_open import read_bytes

BEST = "model-best.pth.tar"
POINTER = "checkpoint"  # the file that names the newest
_MOST_NAME = 200  # characters
_MOST_DIGITS = 9  # of an epoch in a file's name


def _epoch_of(name: str) -> int:
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() and len(number) <= _MOST_DIGITS else -1


def _checkpoints(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        files = [entry.name for entry in entries if entry.name.startswith("model") and not entry.is_dir()]
    return sorted(name for name in files if not name.endswith(".part"))


def model_folders(folder: str | Path) -> list[Path]:
    """The folders of a run's models, which hold their checkpoints; none if there is no such run."""
    if not os.path.isdir(folder):
        return []
    return [path for path in sorted(Path(folder).iterdir()) if path.is_dir() and _checkpoints(str(path))]


def _shown_name(name: str) -> str:
    """A file's name read from a file, short enough for a message; a longer one is no checkpoint's."""
    return name if name.isprintable() and len(name) <= _MOST_NAME else ascii(name)[:_MOST_NAME]


def newest_checkpoint(folder: str) -> str:
    """Path of the checkpoint that the file `checkpoint` names, or without that file of the highest epoch.

    Raises:
        UserError: if there is none; the message names those that are there.
    """
    names, wanted = _checkpoints(folder), "model.pth.tar-..."
    pointer = os.path.join(folder, POINTER)
    if os.path.isfile(pointer):
        lines = read_bytes(pointer).decode("utf-8", "replace").splitlines() or [""]
        wanted = _shown_name(lines[0].strip()) or wanted
    else:
        wanted = max(names, key=_epoch_of, default=wanted)
    if wanted not in names:
        raise UserError(f"no {wanted} in {folder}; there is: {', '.join(names) or 'nothing'}; see --load-epoch")
    return os.path.join(folder, wanted)


def find_checkpoint(folder: str, epoch: int | None = None) -> str:
    """Path of a model's checkpoint.

    Args:
        folder: the model's folder inside a run's output folder.
        epoch: which epoch's; without it model-best.pth.tar, or if there is none the newest.

    Raises:
        UserError: if there is none; the message names those that are there.
    """
    if not os.path.isdir(folder):
        raise UserError(f"no checkpoint: there is no folder {folder}; check --model-dir and train first")
    names = _checkpoints(folder)
    wanted = BEST if epoch is None else f"model.pth.tar-{epoch}"
    if epoch is None and wanted not in names:
        return newest_checkpoint(folder)
    if wanted not in names:
        raise UserError(f"no {wanted} in {folder}; there is: {', '.join(names) or 'nothing'}; see --load-epoch")
    return os.path.join(folder, wanted)


def checkpoint_of_run(folder: str | Path, epoch: int | None = None) -> str:
    """Path of the checkpoint in a run's output folder: the best, or without one the last, or that of an epoch.

    Raises:
        UserError: if there is none, or there are several models.
    """
    inner = model_folders(folder)
    if len(inner) != 1:
        there = ", ".join(path.name for path in inner) or "none"
        raise UserError(f"{folder} must hold the checkpoints of one model, there is: {there}")
    return find_checkpoint(str(inner[0]), epoch)


def checkpoint_at(path: str | Path, epoch: int | None = None) -> str:
    """Path of the checkpoint that a path means: for a run's output folder as checkpoint_of_run, else the file itself.

    Raises:
        UserError: as checkpoint_of_run.
    """
    return checkpoint_of_run(path, epoch) if os.path.isdir(path) else str(path)


def run_or_file(path: str | Path) -> Path:
    """What a user names: a run's output folder, or a checkpoint in it.

    Raises:
        UserError: if nothing is there.
    """
    place = of_user(path)
    if not place.exists():
        raise UserError(f"there is no run and no file {path}: give a run's output folder, or a checkpoint in it")
    return place
