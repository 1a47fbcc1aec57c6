"""numpy's .npz files, written whole, and read with every byte checked; and single .npy arrays, which have no check."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from modprompt.errors import UserError
from modprompt.io.archives import read_member, read_members
from modprompt.io.atomic import part_of
from modprompt.io.safe_open import Bytes, Refused, open_regular, read_bytes

PathLike = str | Path
_MOST_UNPACKED = 1 << 30  # bytes of a packed array
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_KINDS = "biufcSU"  # of types: numbers and texts
_MOST_LENGTH = 1 << 31  # of an axis, where another is empty
_MOST_AXES = 32
_MOST_SHOWN = 40


def write_arrays(path: PathLike, *, packed: bool = False, **arrays: np.ndarray) -> None:
    """Write a .npz file that is either complete or not there, with its folders.

    Args:
        path: the file.
        packed: make it smaller, at about a second per 30 MB.
        arrays: by name.
    """
    save = np.savez_compressed if packed else np.savez
    with part_of(path) as file:
        save(file, **arrays)  # type: ignore[arg-type]  # none of them is called allow_pickle


def read_arrays(path: PathLike, *names: str) -> tuple[np.ndarray, ...]:
    """The arrays of these names in a .npz file.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is damaged or lacks one of them.
    """
    found = read_all_arrays(path, *names)
    return tuple(found[name] for name in names)


def read_all_arrays(path: PathLike, *names: str) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name; only those of `names`, if any.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is damaged or lacks one of them.
    """
    with open_regular(path) as file:
        try:
            return arrays_in(Bytes(file), names)
        except Exception as error:  # numpy raises many kinds
            raise damaged(path, error) from None


def write_array(path: PathLike, array: np.ndarray) -> None:
    """Write a .npy file that is either complete or not there, with its folders."""
    with part_of(path) as file:
        np.save(file, array, allow_pickle=False)


def read_array(path: PathLike) -> np.ndarray:
    """The array in a .npy file.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is damaged or holds Python objects.
    """
    content = read_bytes(path)
    try:
        return _array(content)
    except Exception as error:  # numpy raises many kinds
        raise damaged(path, error) from None


def _array(content: bytes) -> np.ndarray:
    """The array in a .npy text, whose header is compared with the text's size before memory is allocated.

    Raises:
        Refused: if it states another size, or holds anything but numbers and texts. NumPy raises other kinds.
    """
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise Refused(f"its array has version {version}")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.kind not in _KINDS or not dtype.itemsize or dtype.subdtype is not None:
        raise Refused(f"its array holds {str(dtype)[:_MOST_SHOWN]}, neither numbers nor texts")
    if len(shape) > _MOST_AXES or any(type(length) is not int or not 0 <= length < _MOST_LENGTH for length in shape):
        raise Refused(f"its array has the shape {str(shape)[:_MOST_SHOWN]}")
    size, there = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
    if size != there:
        raise Refused(f"its array states {size:,} bytes, but there are {there:,}")
    file.seek(0)
    array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def damaged(path: PathLike, error: Exception) -> UserError:
    """The error for a file that could not be read, whatever NumPy raised."""
    if isinstance(error, MemoryError):
        return UserError(f"{path} cannot be read: there is not enough memory")
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(f"{path} is damaged ({lines[0][:160]})")


def arrays_in(content: Bytes, names: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """As `read_all_arrays`, from an open file. Raises whatever reading and NumPy raise."""
    members = {name[:-4] if name.endswith(".npy") else name: member for name, member in read_members(content).items()}
    missing = [name for name in names if name not in members]
    if missing:
        raise Refused(f"it has no {missing[0]}")
    arrays = {}
    for name in names or members:
        member = members[name]
        text = read_member(content, member, _MOST_UNPACKED if member.deflated else content.size)
        arrays[name] = _array(text)
    return arrays
