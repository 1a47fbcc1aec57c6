"""Rows of numbers in a file, each with a CRC of its own: a .npz whose array `rows` is mapped, not read.

So a file of many gigabytes is opened at once, and no row with a flipped bit is ever given. Beside `rows` stand `crcs`,
the CRC-32 of each row; `names`, a text for each or none; `stands_for`, what decides them; `seal`, a hash of the three.
"""

import contextlib
import io
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Iterable, Sequence, Tuple, Union

import numpy as np

from modprompt.storage.archives import read_members
from modprompt.storage.arrays import arrays_in, damaged, read_header
from modprompt.storage.opening import Bytes, Refused, open_regular
from modprompt.storage.parts import part_of
from modprompt.storage.seal import arrays_hash

PathLike = Union[str, Path]
_LONGEST_HEADER = 1 << 10
ANY = -1  # in a shape that is asked for: whatever length there is


def _bytes(row: np.ndarray) -> np.ndarray:
    """All bytes of an array, in one row."""
    return np.ascontiguousarray(row).reshape(-1).view(np.uint8)


def write_rows(
    path: PathLike,
    dtype: Any,
    shape: Tuple[int, ...],
    blocks: Iterable[np.ndarray],
    stands_for: str,
    names: Sequence[str] = (),
) -> None:
    """Write a file of rows that is either complete or not there, with its folders.

    Args:
        path: where it goes.
        dtype: of the rows.
        shape: (N, shape of a row...).
        blocks: the rows in their order, (some, shape of a row...) at a time.
        stands_for: what decides them, which is asked for when the file is opened.
        names: of the N rows, if they have any.

    Raises:
        Refused: if the rows are not of that number, shape and type; nothing is left then.
        OSError: if it cannot be written.
    """
    kind, crcs = np.dtype(dtype), []
    with part_of(path) as file, zipfile.ZipFile(file, "w") as archive:
        with archive.open("rows.npy", "w", force_zip64=True) as member:
            head = {"descr": kind.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, head)
            for block in blocks:
                if block.shape[1:] != shape[1:] or block.dtype != kind:
                    raise Refused(f"rows of {block.dtype} {block.shape[1:]} came for those of {kind} {shape[1:]}")
                whole = np.ascontiguousarray(block)
                member.write(_bytes(whole).data)
                crcs += [zlib.crc32(_bytes(row).data) for row in whole]
        if len(crcs) != shape[0]:
            raise Refused(f"{len(crcs)} rows came, not {shape[0]}")
        beside = [np.array(crcs, dtype="<u4"), np.array(names, dtype=np.str_), np.array(stands_for)]
        seal = np.array(arrays_hash("rows", *beside))
        for name, array in zip(("crcs", "names", "stands_for", "seal"), (*beside, seal)):
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


class Rows:
    """An open file of rows; in a process that it is sent to it is opened again.

    Args:
        path: the file.
        dtype: of the rows.
        shape: (N, shape of a row...), ANY where every length is right.
        stands_for: as it was written.

    Attributes:
        names: of the rows; empty if they have none.

    Raises:
        FileNotFoundError: if there is none.
        Refused: if it is damaged, of another version, or holds other rows than are asked for.
        UserError: if it is no regular file, may not be read, or NumPy refuses it.
    """

    def __init__(self, path: PathLike, dtype: Any, shape: Tuple[int, ...], stands_for: str):
        self._asked = (path, dtype, shape, stands_for)
        with open_regular(path) as file:
            facts = os.fstat(file.fileno())
            self._identity = (facts.st_dev, facts.st_ino)
            try:
                self._open(file)
            except (Refused, OSError):
                raise
            except Exception as error:  # numpy raises many kinds
                raise damaged(path, error) from None

    def _open(self, file: BinaryIO) -> None:
        _, dtype, asked, stands_for = self._asked
        content = Bytes(file)
        member = read_members(content).get("rows.npy")
        if member is None or member.deflated:
            raise Refused("it has no rows: it is of another version")
        beside = arrays_in(content, ("crcs", "names", "stands_for", "seal"))
        crcs, names = beside["crcs"], beside["names"]
        if str(beside["seal"]) != arrays_hash("rows", crcs, names, beside["stands_for"]):
            raise Refused("its hash is of other content")
        if str(beside["stands_for"]) != stands_for:
            raise Refused("it stands for others")
        head = io.BytesIO(content.read(member.start, min(member.size, _LONGEST_HEADER)))
        shape, fortran, kind = read_header(head, member.size)
        fits = len(shape) == len(asked) and all(wanted in (ANY, there) for wanted, there in zip(asked, shape))
        if not fits or kind != np.dtype(dtype) or fortran:
            raise Refused(f"its rows are {kind} {shape}")
        if crcs.shape != shape[:1] or names.shape not in ((0,), shape[:1]):
            raise Refused(f"it has {crcs.shape} CRCs and {names.shape} names of {shape[0]} rows")
        self._crcs, self.names = crcs.tolist(), names.tolist()
        self._rows = np.memmap(file, dtype=kind, mode="r", offset=member.start + head.tell(), shape=shape)

    def __reduce__(self) -> Tuple[Any, ...]:
        return Rows, self._asked

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> np.ndarray:
        """A row, copied.

        Raises:
            Refused: if it is not what was written.
        """
        row = np.array(self._rows[number])
        if zlib.crc32(_bytes(row).data) != self._crcs[number]:
            raise Refused(f"row {number} is damaged: its bytes do not have the CRC that was written with them")
        return row

    def all(self) -> np.ndarray:
        """All rows, copied.

        Raises:
            Refused: if one is not what was written.
        """
        return np.stack([self[number] for number in range(len(self))])

    def remove(self) -> bool:
        """Remove the file, if it still is the one that is open here. Returns whether it was.

        Raises:
            OSError: if it may not be removed.
        """
        path = str(self._asked[0])
        with contextlib.suppress(FileNotFoundError):
            facts = os.stat(path)
            if (facts.st_dev, facts.st_ino) == self._identity:
                os.unlink(path)
                return True
        return False
