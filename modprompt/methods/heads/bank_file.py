"""The features that a head was built from, kept in the folder of an unfinished run, which resumes from them exactly."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from modprompt.errors import UserError
from modprompt.io.settings import changes
from modprompt.io.tensors import read_tensors, write_tensors

FILE_NAME = "bank.pth.tar"
Views = Sequence[tuple[Tensor, Tensor]]  # passes over the training images: features (N, D) and labels (N,) of each


def write(directory: str, settings: Mapping[str, str], views: Views) -> None:
    """Keep views in a run's folder; `settings` is what determines them, CLIP and training images too."""
    features, labels = [features for features, _ in views], [labels for _, labels in views]
    write_tensors(Path(directory, FILE_NAME), {"settings": dict(settings), "features": features, "labels": labels})


def read(directory: str, settings: Mapping[str, str]) -> Views:
    """The views of the run in a folder, for a run with these settings.

    Raises:
        UserError: if they are missing, damaged, or were made with another CLIP, other images or other settings.
    """
    path = Path(directory, FILE_NAME)
    to_do = f"delete {directory} to start anew"
    if not path.is_file():
        raise UserError(f"{path}, which the run in that folder was built from, is missing: {to_do}")
    try:
        content = read_tensors(path)
    except UserError as error:
        raise UserError(f"{path} is damaged ({error}): {to_do}") from None
    theirs = content["settings"]
    other = changes(theirs, {key: text for key, text in settings.items() if key in theirs})
    if other:
        raise UserError(f"{path} was made by a run with other settings ({'; '.join(map(str, other[:4]))}): {to_do}")
    return list(zip(content["features"], content["labels"]))
