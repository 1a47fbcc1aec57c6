"""The features that a head was built from, kept in the folder of an unfinished run, which resumes from them exactly."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from modprompt.errors import UserError
from modprompt.io.settings import changes
from modprompt.io.tensors import read_sealed, write_sealed

FILE_NAME = "bank.pth.tar"


class Views(NamedTuple):
    """Passes over the training images: features (N, D) of each, and their labels (N,)."""

    features: list[Tensor]
    labels: list[Tensor]


def write(directory: str, settings: Mapping[str, str], views: Views) -> None:
    """Keep views in a run's folder, if there are any.

    Args:
        directory: the folder.
        settings: what determines them, as {name: text}: also the CLIP and the training images.
        views: to be kept.
    """
    if views.features:
        write_sealed(Path(directory, FILE_NAME), {"settings": dict(settings), **views._asdict()})


def remove(directory: str) -> None:
    """Remove the file, if there is one."""
    path = Path(directory, FILE_NAME)
    if path.exists():
        path.unlink()


def read(directory: str, settings: Mapping[str, str]) -> Views:
    """The views of a run.

    Args:
        directory: its folder.
        settings: what determines this run's views.

    Raises:
        UserError: if they are missing, damaged, or were made with another CLIP, other images or other settings.
    """
    path = Path(directory, FILE_NAME)
    to_do = f"delete {directory} to start anew"
    if not path.is_file():
        raise UserError(f"{path}, which the run in that folder was built from, is missing: {to_do}")
    try:
        content = read_sealed(path)
    except UserError as error:
        raise UserError(f"{path} is damaged ({error}): {to_do}") from None
    theirs = content["settings"]
    other = changes(theirs, {key: text for key, text in settings.items() if key in theirs})
    if other:
        raise UserError(f"{path} was made by a run with other settings ({'; '.join(other[:4])}): {to_do}")
    return Views(content["features"], content["labels"])
