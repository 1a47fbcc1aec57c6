"""Pickles of the CoOp family (few-shot lists, ImageNet's listing), read without trusting them.

They hold Dassl's Datum objects with absolute paths. The unpickler here admits that one class and nothing else, and
what comes out are paths below the image folder, whatever root they were written under.
"""

from __future__ import annotations

import pickle
from pathlib import Path

from modprompt.errors import UserError


class _Record:
    """Takes a Datum's state: the attributes _impath, _label, _domain and _classname."""


class _DatumUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("dassl.data.datasets.base_dataset", "Datum"):
            return _Record
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only Datum is admitted")


def read_family_pickle(path: Path, image_dir: Path) -> dict[str, list[tuple[str, int]]]:
    """{part: [(path below the image folder, label), ...]} of a pickle of the family.

    Raises:
        UserError: if it is damaged, or holds anything but lists of Datum.
    """
    try:
        with path.open("rb") as file:
            content = _DatumUnpickler(file).load()
        return {
            str(part): [(_below(record._impath, image_dir), int(record._label)) for record in records]
            for part, records in content.items()
        }
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is not a few-shot cache of the family ({reason[:120]})") from None


def _below(impath: str, image_dir: Path) -> str:
    """The part of a path behind the last folder that is named as the image folder."""
    marker = f"/{image_dir.name}/"
    path = impath.replace("\\", "/")
    return path.rpartition(marker)[2] if marker in path else path
