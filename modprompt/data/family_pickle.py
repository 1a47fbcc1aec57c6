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


class _Record:
    """Stands in for a Datum, and keeps what is needed of its state."""

    __slots__ = ("path", "label")

    def __setstate__(self, state: Any) -> None:
        self.path, self.label = state["_impath"], int(state["_label"])


class _Reader(pickle.Unpickler):
    """Knows no name but Datum's, so that nothing is called but the stand-in."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) != ("dassl.data.datasets.base_dataset", "Datum"):
            raise Refused(f"the file contains an object of type {module}.{name}, but only Datum is allowed")
        return _Record


def read_family_pickle(path: Path, image_dir: Path) -> dict[str, list[tuple[str, int]]]:
    """{part: [(path below the image folder, label), ...]} of a pickle of the family.

    Raises:
        UserError: if it is damaged, or holds anything but lists of Datum below a folder named like the image folder.
    """
    lists: dict[str, list[tuple[str, int]]] = {"train": [], "val": [], "test": []}
    try:
        with open_regular(path) as file:
            content = _Reader(file).load()
        for part, records in content.items():
            for record in records:
                _, below, name = record.path.replace("\\", "/").rpartition(f"/{image_dir.name}/")
                if not below:
                    raise Refused(f"the image path {record.path[:120]!r} has no folder named {image_dir.name}")
                lists[part].append((name, record.label))
    except Exception as error:  # pickle raises many kinds
        raise UserError(
            f"{path} is not a valid pickle file of a Dassl-based codebase ({one_line(error)[:300]}). Delete the file."
        ) from None
    return lists


def write_family_pickle(path: Path, lists: Mapping[str, Sequence[Image]]) -> None:
    """Write {part: images} whole, as the family reads it: Datum objects with absolute paths."""

    def datum(image: Image) -> Datum:  # as the constructor makes it, which asks the disk for each of a million files
        made = Datum.__new__(Datum)
        made.__dict__.update(_impath=image.impath, _label=image.label, _domain=0, _classname=image.classname)
        return made

    content = {part: [datum(image) for image in images] for part, images in lists.items()}
    with part_of(path) as file:
        pickle.dump(content, file, protocol=4)
