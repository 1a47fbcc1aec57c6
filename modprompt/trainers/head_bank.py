"""The file with the features from which a head was built: an unfinished run is resumed from these features."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from modprompt.errors import UserError
from modprompt.io.folder import or_delete
from modprompt.io.identity import changes
from modprompt.io.tensors import read_tensors, write_tensors

BANK = "bank.pth.tar"
Views = Sequence[tuple[Tensor, Tensor]]  # passes over the training images: features (N, D) and labels (N,) of each


def write_bank(directory: str, views: Views, settings: Mapping[str, str]) -> None:
    """Write the features of the training images and the settings of the run to the output folder."""
    if views:
        features, labels = [list(one) for one in zip(*views)]
        write_tensors(Path(directory, BANK), {"settings": dict(settings), "features": features, "labels": labels})


def read_bank(directory: str, settings: Mapping[str, str]) -> Views:
    """Read the features of the training images that a run has written to its output folder.

    Raises:
        UserError: if the file is missing or damaged, or was made with another CLIP, other images or other settings.
    """
    path = Path(directory, BANK)
    to_do = f"Start in a different --output-dir{or_delete(directory)}."
    if not path.is_file():
        raise UserError(f"{path} is missing, but the run in the output folder was made from this file. {to_do}")
    try:
        content = read_tensors(path)
    except UserError as error:
        raise UserError(f"{path} is damaged ({error}). {to_do}") from None
    theirs = content["settings"]
    other = changes(theirs, {key: text for key, text in settings.items() if key in theirs})
    if other:
        raise UserError(f"{path} was made by a run with other settings ({'; '.join(map(str, other[:4]))}). {to_do}")
    return list(zip(content["features"], content["labels"]))
