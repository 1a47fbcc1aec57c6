"""Rows of numbers in a file, each with its own CRC: a .npz whose array `rows` is mapped, not read.

So a file of many gigabytes is opened at once, and a row with a flipped bit is never returned. Next to `rows` are
`crcs`, the CRC-32 of each row; `names`, a text for each or none; and `stands_for`, what decides them. A row's kind is a
type of numpy's with its shape: np.dtype((np.uint8, (224, 224, 3))).
"""

import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from typing import BinaryIO

import numpy as np

from modprompt.io.arrays import arrays_in
from modprompt.io.atomic import part_of
from modprompt.io.safe_open import PathLike, Refused, open_regular
from modprompt.programs import one_line


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def write_rows(
    path: PathLike,
    kind: np.dtype,
    number: int,
    blocks: Iterable[np.ndarray],
    stands_for: str,
    names: Sequence[str] = (),
) -> None:
    """Write a file of rows that is either complete or not there, with its folders.

    Args:
        path: where it goes.
        kind: of a row.
        number: of rows.
        blocks: the rows in their order, some at a time.
        stands_for: what decides them, which must be given to open the file.
        names: of the rows, if they have any.

    Raises:
        Refused: if the rows do not have that number and kind; no file is left then.
        OSError: if it cannot be written.
    """
    crcs: list[int] = []
    with part_of(path) as file, zipfile.ZipFile(file, "w") as archive:
        with archive.open("rows.npy", "w", force_zip64=True) as member:
            facts = {"descr": kind.base.str, "fortran_order": False, "shape": (number, *kind.shape)}
            np.lib.format.write_array_header_1_0(member, facts)
            for block in map(np.ascontiguousarray, blocks):
                if (block.dtype, block.shape[1:]) != (kind.base, kind.shape):
                    raise Refused(f"rows of {block.dtype} {block.shape[1:]} came for those of {kind.base} {kind.shape}")
                member.write(_bytes(block))
                crcs += [zlib.crc32(_bytes(row)) for row in block]
        if len(crcs) != number:
            raise Refused(f"{len(crcs)} rows came, not {number}")
        beside = {"crcs": np.array(crcs, "<u4"), "names": np.array(names, np.str_), "stands_for": np.array(stands_for)}
        for name, array in beside.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _mapped(file: BinaryIO) -> np.memmap:
    """The array `rows`, which is stored as it lies in memory, mapped."""
    with zipfile.ZipFile(file) as archive:
        start = archive.getinfo("rows.npy").header_offset
    file.seek(start + 26)
    file.seek(start + 30 + sum(struct.unpack("<2H", file.read(4))))  # behind a header, a name and an extra field
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return np.memmap(file, dtype, "r", file.tell(), shape)


class Rows:
    """An open file of rows.

    Args:
        path: the file.
        kind: of a row, as it was written.
        stands_for: as it was written; None if that is known already.

    Attributes:
        names: of the rows; empty if they have none.

    Raises:
        FileNotFoundError: if there is none.
        Refused: if it is damaged, or holds other rows than those asked for.
        UserError: if it is not a regular file, or may not be read.
    """

    def __init__(self, path: PathLike, kind: np.dtype, stands_for: str | None):
        with open_regular(path) as file:
            try:
                beside = arrays_in(file, "crcs", "names", "stands_for")
                self._rows = _mapped(file)
            except Exception as error:  # numpy and zipfile raise many kinds
                raise Refused(f"it is damaged: {one_line(error)[:160]}") from None
        if stands_for is not None and str(beside["stands_for"]) != stands_for:
            raise Refused("it stands for others")
        self._crcs, self.names = beside["crcs"].reshape(-1), beside["names"].reshape(-1).tolist()
        number = len(self._crcs)
        if (self._rows.dtype, self._rows.shape) != (kind.base, (number, *kind.shape)):
            raise Refused(f"its rows are not {number} of {kind.base} {kind.shape}")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> np.ndarray:
        """A row, copied.

        Raises:
            Refused: if it is not what was written.
        """
        row = np.array(self._rows[number])
        if zlib.crc32(_bytes(row)) != self._crcs[number]:
            raise Refused(f"row {number} is damaged: its bytes do not have the CRC that was written with them")
        return row

    def all(self) -> np.ndarray:
        """All rows, copied.

        Raises:
            Refused: if one is not what was written.
        """
        return np.stack([self[number] for number in range(len(self))])
