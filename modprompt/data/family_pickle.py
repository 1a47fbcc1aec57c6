"""Pickles of the CoOp family (few-shot lists, ImageNet's listing), read without trusting them.

They hold Dassl's Datum objects with absolute paths. The unpickler here admits that one class and nothing else, and
what comes out are paths below the image folder, whatever root they were written under. Before anything is made, one
pass over the operations refuses those that such a file has no need of: tuples and sets, of which a few dozen bytes can
keep a reader busy for ever.
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

from modprompt.errors import UserError
from modprompt.storage.opening import read_bytes
from modprompt.storage.paths import is_inside

# operations whose argument is in a fixed number of bytes: memo, marks, numbers, empty containers, filling them, Datum
_FIXED = re.compile(
    rb"(?:[\x94\x93\x81\x88\x89)}\](0NRabesu]|h.|q.|K.|M..|j.{4}|J.{4}|G.{8}|\x80.|\x95.{8}){1,4096}", flags=re.DOTALL
)
_LONGEST_PATH = 4096
_LONGEST_NUMBER = 7  # bytes; longer ones can be chosen so that all of them have one hash
_TEXT = {b"\x8c": 1, b"X": 4, b"\x8a": 1, b"r": 0}  # size of the length in front of a text or a long number


class _Record:
    """Takes what is needed of a Datum's state (_impath, _label, _domain, _classname), however large it is."""

    _impath: Any = None
    _label: Any = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._impath, self._label = state.get("_impath"), state.get("_label")


class _DatumUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Record]:
        if (module, name) == ("dassl.data.datasets.base_dataset", "Datum"):
            return _Record
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only Datum is admitted")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside of it")


def _check_operations(data: bytes) -> None:
    """Raise ValueError on an operation that lists of Datum have no need of."""
    at = 0
    while True:
        found = _FIXED.match(data, at)
        if found:
            at = found.end()
            continue
        operation = data[at : at + 1]
        if operation == b".":
            return
        if operation == b"c":  # a class by its name, up to two line ends
            at = data.index(b"\n", data.index(b"\n", at) + 1) + 1
        elif operation == b"r":  # the memo grows as far as this number
            if int.from_bytes(data[at + 1 : at + 5], "little") > len(data):
                raise ValueError("its memo is larger than itself")
            at += 5
        elif operation in _TEXT:
            size = _TEXT[operation]
            if operation == b"\x8a" and data[at + 1] > _LONGEST_NUMBER:
                raise ValueError("it has a number that is no label")
            at += 1 + size + int.from_bytes(data[at + 1 : at + 1 + size], "little")
        else:
            raise ValueError(f"its operation {operation!r} at byte {at} is not one of a list of images")


def read_family_pickle(path: Path, image_dir: Path) -> dict[str, list[tuple[str, int]]]:
    """{part: [(path below the image folder, label), ...]} of a pickle of the family.

    Raises:
        UserError: if it is damaged, or holds anything but lists of Datum below a folder of the image folder's name.
    """
    try:
        data = read_bytes(path)
        _check_operations(data)
        content = _DatumUnpickler(io.BytesIO(data)).load()
        if not isinstance(content, dict):
            raise ValueError("it holds no lists")
        return {_part(part): [_row(record, image_dir) for record in records] for part, records in content.items()}
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is not a few-shot cache of the family ({reason[:300]})") from None


def _part(part: object) -> str:
    if part not in ("train", "val", "test"):
        raise ValueError("a list in it is neither train nor val nor test")
    return part


def _row(record: object, image_dir: Path) -> tuple[str, int]:
    if not isinstance(record, _Record) or not isinstance(record._impath, str) or len(record._impath) > _LONGEST_PATH:
        raise ValueError("it lists something that is no image")
    return _below(record._impath, image_dir), int(record._label)


def _below(impath: str, image_dir: Path) -> str:
    """The part of a path behind the last folder that is named as the image folder."""
    marker = f"/{image_dir.name}/"
    name = impath.replace("\\", "/").rpartition(marker)[2]
    if not is_inside(name):
        raise ValueError(f"its entry {impath[:120]!r} does not lie in a folder {image_dir.name}")
    return name
