"""Pickles of the CoOp family (few-shot lists, ImageNet's listing), read without trusting them.

They hold Dassl's Datum objects with absolute paths. Only that class is allowed, and the paths returned are below the
image folder, whatever root they were written under.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from modprompt.errors import UserError
from modprompt.io.files import Refused, is_inside, open_regular

_DATUM = ("dassl.data.datasets.base_dataset", "Datum")
_LONGEST_PATH = 4096


class _Record:
    """Stands in for a Datum, and keeps what is needed of its state (_impath, _label, _domain, _classname)."""

    path: Any = None
    label: Any = None

    def __setstate__(self, state: Any) -> None:
        self.path, self.label = state.get("_impath"), state.get("_label")


class _Reader(pickle.Unpickler):
    """Knows no name but Datum's, so that nothing is called but the stand-in."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) != _DATUM:
            raise Refused(f"it asks for {module}.{name}, and only Datum is allowed")
        return _Record


def read_family_pickle(path: Path, image_dir: Path) -> dict[str, list[tuple[str, int]]]:
    """{part: [(path below the image folder, label), ...]} of a pickle of the family.

    Raises:
        UserError: if it is damaged, or holds anything but lists of Datum below a folder named like the image folder.
    """
    try:
        with open_regular(path) as file:
            content = _Reader(file).load()
        return {_part(part): [_row(record, image_dir) for record in records] for part, records in content.items()}
    except Exception as error:  # pickle raises many kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is not a few-shot cache of the family ({reason[:300]})") from None


def _part(part: object) -> str:
    if part not in ("train", "val", "test"):
        raise ValueError("a list in it is neither train nor val nor test")
    return str(part)


def _row(record: object, image_dir: Path) -> tuple[str, int]:
    if not isinstance(record, _Record) or not isinstance(record.path, str) or len(record.path) > _LONGEST_PATH:
        raise ValueError("it lists something that is no image")
    return _below(record.path, image_dir), int(record.label)


def _below(impath: str, image_dir: Path) -> str:
    """The part of a path after the last folder named like the image folder."""
    marker = f"/{image_dir.name}/"
    name = impath.replace("\\", "/").rpartition(marker)[2]
    if not is_inside(name):
        raise ValueError(f"its entry {impath[:120]!r} does not lie in a folder {image_dir.name}")
    return name
