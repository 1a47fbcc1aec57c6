"""NumPy's files: .npz, whose CRCs are checked as they are read, .npy, which have none, MATLAB's, and rows.

A file of rows is a .npz whose array `rows` is mapped, not read, so that one of many gigabytes is opened at once; each
row has its own CRC, and one with a flipped bit is never returned. Next to `rows` are `crcs`, the CRC-32 of each row;
`names`, a text for each or none; and `stands_for`, what decides them. A row's kind is a type of numpy's with its shape:
np.dtype((np.uint8, (224, 224, 3))).
"""

import contextlib
import io
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from modprompt.errors import UserError
from modprompt.io.atomic import part_of
from modprompt.io.safe_open import PathLike, Refused, open_regular, read_bytes
from modprompt.programs import one_line

_TRY = "import io, sys; from scipy.io import loadmat; loadmat(io.BytesIO(sys.stdin.buffer.read()))"


def write_arrays(path: PathLike, *, packed: bool = False, **arrays: np.ndarray) -> None:
    """Write a .npz file whole, with its folders; packed it is smaller, at about a second per 30 MB."""
    save = np.savez_compressed if packed else np.savez
    with part_of(path) as file:
        save(file, **arrays)  # type: ignore[arg-type]  # none of them is called allow_pickle


def read_arrays(path: PathLike, *names: str) -> tuple[np.ndarray, ...]:
    """The arrays of these names in a .npz file.

    Raises FileNotFoundError, or UserError if the file is damaged, lacks one of them, or holds other objects.
    """
    found = read_all_arrays(path, *names)
    return tuple(found[name] for name in names)


def read_all_arrays(path: PathLike, *names: str) -> dict[str, np.ndarray]:
    """As `read_arrays`, by name; without names all of them."""
    with _damage_told(path) as file:
        return _arrays_in(file, *names)


@contextlib.contextmanager
def _damage_told(path: PathLike) -> Iterator[BinaryIO]:
    with open_regular(path) as file:
        try:
            yield file
        except Exception as error:  # numpy raises many kinds
            raise UserError(f"{path} is damaged ({one_line(error)[:160]})") from None


def _arrays_in(file: BinaryIO, *names: str) -> dict[str, np.ndarray]:
    with _load(file, b"PK\3\4") as found:
        return {name: found[name] for name in names or found.files}


def read_array(path: PathLike) -> np.ndarray:
    """The array in a .npy file; raises as read_arrays."""
    with _damage_told(path) as file:
        array: np.ndarray = _load(file, b"\x93NUM")
        return array


def _load(file: BinaryIO, begins: bytes) -> Any:
    if file.read(len(begins)) != begins:
        raise Refused("it does not begin as such a file of NumPy does")
    file.seek(0)
    return np.load(file, allow_pickle=False)


def read_mat(path: PathLike) -> dict[str, np.ndarray]:
    """The variables of a file of MATLAB 5 by name, as scipy.io.loadmat gives them.

    A process of its own reads them first: SciPy's reader is written in C, and a wrong byte may end the process. Raises
    as read_bytes, and Refused if the file is damaged or no such file.
    """
    content = read_bytes(path)
    tried = subprocess.run([sys.executable, "-c", _TRY], input=content, capture_output=True, check=False)
    if tried.returncode:
        said = tried.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Refused(said[-1][:160] if tried.returncode > 0 and said else "reading it ended the reader")
    from scipy.io import loadmat  # late: it takes a moment

    found: dict[str, np.ndarray] = loadmat(io.BytesIO(content))
    return {name: value for name, value in found.items() if not name.startswith("__")}


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
    """Write a file of rows whole, with its folders, from blocks of some rows at a time.

    Raises Refused if the rows do not have that number and kind, or OSError; no file is left then.
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
    """An open file of rows, which have `names` or none.

    Raises as open_regular, and Refused if the file is damaged, or holds rows of another kind, or that stand for others.
    """

    def __init__(self, path: PathLike, kind: np.dtype, stands_for: str | None):
        with open_regular(path) as file:
            try:
                beside = _arrays_in(file, "crcs", "names", "stands_for")
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
        """A row, copied; raises Refused if it is not what was written."""
        row = np.array(self._rows[number])
        if zlib.crc32(_bytes(row)) != self._crcs[number]:
            raise Refused(f"row {number} is damaged: its bytes do not have the CRC that was written with them")
        return row

    def all(self) -> np.ndarray:
        """All rows, copied, as one by one."""
        return np.stack([self[number] for number in range(len(self))])
