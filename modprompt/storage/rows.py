"""Rows of bytes in one file: written whole, memory-mapped, and each checked by a CRC of its own when it is read.

The rows stand one behind the other; then their CRC-32s; then the hash of those and of what the rows stand for. So a
file of many gigabytes is opened at once, and no row with a flipped bit is ever given.
"""

import contextlib
import os
import zlib
from pathlib import Path
from typing import Any, Iterable, Tuple, Union

import numpy as np

from modprompt.storage.opening import Refused, open_regular
from modprompt.storage.parts import part_of
from modprompt.storage.seal import arrays_hash

PathLike = Union[str, Path]
_HASH_SIZE = 64
_CRC = np.dtype("<u4")


def size_of(shape: Tuple[int, ...]) -> int:
    """The bytes of a file of rows.

    Args:
        shape: (number of rows, shape of a row...), in bytes.
    """
    return int(np.prod(shape, dtype=np.int64)) + shape[0] * _CRC.itemsize + _HASH_SIZE


def _seal(stands_for: str, shape: Tuple[int, ...], crcs: np.ndarray) -> bytes:
    return arrays_hash(f"{stands_for} {shape}", crcs).encode("ascii")


def _crc(row: np.ndarray) -> int:
    return zlib.crc32(row.reshape(-1).data)


def write_rows(path: PathLike, shape: Tuple[int, ...], blocks: Iterable[np.ndarray], stands_for: str) -> None:
    """Write a file of rows that is either complete or not there, with its folders.

    Args:
        path: where it goes.
        shape: (N, shape of a row...).
        blocks: the rows in their order, uint8 (some, shape of a row...) at a time.
        stands_for: what is asked for when the file is opened.

    Raises:
        Refused: if the rows are not of that number, shape and type; nothing is left then.
        OSError: if it cannot be written.
    """
    crcs = []
    with part_of(path) as file:
        for block in blocks:
            if block.shape[1:] != shape[1:] or block.dtype != np.uint8:
                raise Refused(f"rows of {block.dtype} {block.shape[1:]} came for those of uint8 {shape[1:]}")
            whole = np.ascontiguousarray(block)
            file.write(whole.reshape(-1).data)
            crcs += [_crc(row) for row in whole]
        if len(crcs) != shape[0]:
            raise Refused(f"{len(crcs)} rows came, not {shape[0]}")
        written = np.array(crcs, dtype=_CRC)
        file.write(written.tobytes() + _seal(stands_for, shape, written))


class Rows:
    """An open file of rows; in a process that it is sent to it is opened again.

    Args:
        path: the file.
        shape: (N, shape of a row...), as it was written.
        stands_for: as it was written.

    Raises:
        FileNotFoundError: if there is none.
        UserError: if it is no regular file, or may not be read.
        Refused: if it is not whole, or holds other rows than are asked for.
    """

    def __init__(self, path: PathLike, shape: Tuple[int, ...], stands_for: str):
        self._asked = (path, shape, stands_for)
        with open_regular(path) as file:
            facts = os.fstat(file.fileno())
            if facts.st_size != size_of(shape):
                raise Refused(f"it has {facts.st_size:,} bytes, not {size_of(shape):,}")
            file.seek(-(shape[0] * _CRC.itemsize + _HASH_SIZE), os.SEEK_END)
            self._crcs = np.frombuffer(file.read(shape[0] * _CRC.itemsize), dtype=_CRC)
            if file.read() != _seal(stands_for, shape, self._crcs):
                raise Refused("its hash is of other content")
            self._rows = np.memmap(file, dtype=np.uint8, mode="r", shape=shape)
        self._identity = (facts.st_dev, facts.st_ino)

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
        if _crc(row) != self._crcs[number]:
            raise Refused(f"row {number} is damaged: its bytes do not have the CRC that was written with them")
        return row

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
