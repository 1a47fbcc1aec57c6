"""Pickles of the CoOp family (few-shot lists, ImageNet's listing): written as the family does, read without trust.

They hold Dassl's Datum objects with absolute paths. Only that class is allowed, and the paths returned are those behind
the image folder, whatever root they were written under; they are for looking up known images, not for opening.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dassl.data.datasets import Datum

from modprompt.data.images import Image
from modprompt.errors import UserError
from modprompt.io.files import Refused, open_regular, part_of
from modprompt.programs import one_line

_DATUM = ("dassl.data.datasets.base_dataset", "Datum")


class _Record:
    """Stands in for a Datum, and keeps what is needed of its state (_impath, _label, _domain, _classname)."""

    __slots__ = ("path", "label")

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
        if not set(content) <= {"train", "val", "test"}:
            raise Refused("a list in it is neither train nor val nor test")
        return {part: [_row(record, f"/{image_dir.name}/") for record in records] for part, records in content.items()}
    except Exception as error:  # pickle raises many kinds
        raise UserError(f"{path} is no whole pickle of the family ({one_line(error)[:300]})") from None


def _row(record: object, marker: str) -> tuple[str, int]:
    """The path of a record behind the last folder named like the image folder, and its label."""
    if not isinstance(record, _Record):
        raise Refused("it lists something that is no image")
    _, below, name = record.path.replace("\\", "/").rpartition(marker)
    if not below:
        raise Refused(f"its entry {record.path[:120]!r} does not lie in a folder {marker.strip('/')}")
    return name, int(record.label)


def write_family_pickle(path: Path, lists: Mapping[str, Sequence[Image]]) -> None:
    """Write {part: images} whole, as the family reads it: Datum objects with absolute paths."""
    content = {part: [_datum(image) for image in images] for part, images in lists.items()}
    with part_of(path) as file:
        pickle.dump(content, file, protocol=4)


def _datum(image: Image) -> Datum:
    """As the constructor makes it, which asks the disk for each of a million files."""
    datum = Datum.__new__(Datum)
    datum.__dict__.update(_impath=image.impath, _label=image.label, _domain=0, _classname=image.classname)
    return datum
