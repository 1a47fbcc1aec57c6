"""The checkpoints of a run: which files in its output folder they are, by their names.

Nothing heavy is imported here, so that thousands of folders are searched quickly.
"""

import os
from pathlib import Path

from modprompt.errors import UserError
from modprompt.io.files import read_bytes
from modprompt.io.paths import of_user

BEST = "model-best.pth.tar"
POINTER = "checkpoint"  # the file that names the newest


def _epoch_of(name: str) -> int:
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() and len(number) < 10 else -1


def _checkpoints(folder: str | Path) -> list[str]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith("model") and not entry.is_dir()]
    return sorted(name for name in names if not name.endswith(".part"))


def model_folders(folder: str | Path) -> list[Path]:
    """The folders of a run's models, which hold their checkpoints; none if there is no such run."""
    inner = sorted(Path(folder).iterdir()) if os.path.isdir(folder) else []
    return [path for path in inner if path.is_dir() and _checkpoints(path)]


def _named(folder: str, wanted: str) -> str:
    names = _checkpoints(folder)
    if wanted not in names:
        shown = wanted if wanted.isprintable() else ascii(wanted)  # it may come from a damaged file
        there = ", ".join(names) or "nothing"
        raise UserError(f"no {shown[:200]} in {folder}; there is: {there}; see --load-epoch")
    return os.path.join(folder, wanted)


def newest_checkpoint(folder: str) -> str:
    """Path of the checkpoint that the file `checkpoint` names, or without that file of the highest epoch."""
    pointer = os.path.join(folder, POINTER)
    if not os.path.isfile(pointer):
        return _named(folder, max(_checkpoints(folder), key=_epoch_of, default="model.pth.tar-..."))
    lines = read_bytes(pointer).decode("utf-8", "replace").splitlines() or [""]
    return _named(folder, lines[0].strip() or "model.pth.tar-...")


def find_checkpoint(folder: str, epoch: int | None = None) -> str:
    """Path of the checkpoint of an epoch in a model's folder; without an epoch the best, or else the newest.

    Raises UserError, which names those that are there, if there is none.
    """
    if not os.path.isdir(folder):
        raise UserError(f"no checkpoint: there is no folder {folder}; check --model-dir and train first")
    if epoch is None and BEST not in _checkpoints(folder):
        return newest_checkpoint(folder)
    return _named(folder, BEST if epoch is None else f"model.pth.tar-{epoch}")


def checkpoint_at(path: str | Path, epoch: int | None = None) -> str:
    """Path of the checkpoint that a path means: for a run's output folder as find_checkpoint, else the file itself.

    Raises UserError if the folder has none, or several models.
    """
    if not os.path.isdir(path):
        return str(path)
    inner = model_folders(path)
    if len(inner) != 1:
        there = ", ".join(model.name for model in inner) or "none"
        raise UserError(f"{path} must hold the checkpoints of one model, there is: {there}")
    return find_checkpoint(str(inner[0]), epoch)


def run_or_file(path: str | Path) -> Path:
    """What a user names: a run's output folder, or a checkpoint in it; raises UserError if nothing is there."""
    place = of_user(path)
    if not place.exists():
        raise UserError(f"there is no run and no file {path}: give a run's output folder, or a checkpoint in it")
    return place
