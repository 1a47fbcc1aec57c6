"""NumPy's .npz files, whose CRCs are checked as they are read, and single .npy arrays, which have none."""

from typing import Any, BinaryIO

import numpy as np

from modprompt.errors import UserError
from modprompt.io.atomic import part_of
from modprompt.io.safe_open import PathLike, Refused, open_regular
from modprompt.programs import one_line


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


def write_array(path: PathLike, array: np.ndarray) -> None:
    """Write a .npy file that is either complete or not there, with its folders."""
    with part_of(path) as file:
        np.save(file, array, allow_pickle=False)


def read_arrays(path: PathLike, *names: str) -> tuple[np.ndarray, ...]:
    """The arrays of these names in a .npz file.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is damaged, lacks one of them, or holds other objects.
    """
    found = read_all_arrays(path, *names)
    return tuple(found[name] for name in names)


def read_all_arrays(path: PathLike, *names: str) -> dict[str, np.ndarray]:
    """As `read_arrays`, by name; without names all of them."""
    with open_regular(path) as file:
        try:
            return arrays_in(file, *names)
        except Exception as error:  # numpy raises many kinds
            raise UserError(f"{path} is damaged ({one_line(error)[:160]})") from None


def arrays_in(file: BinaryIO, *names: str) -> dict[str, np.ndarray]:
    """As `read_all_arrays`, from an open file. Raises whatever NumPy and zipfile raise."""
    with _load(file, b"PK\3\4") as found:
        return {name: found[name] for name in names or found.files}


def read_array(path: PathLike) -> np.ndarray:
    """The array in a .npy file.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is cut off, no such file, or holds other objects.
    """
    with open_regular(path) as file:
        try:
            array: np.ndarray = _load(file, b"\x93NUM")
            return array
        except Exception as error:  # numpy raises many kinds
            raise UserError(f"{path} is damaged ({one_line(error)[:160]})") from None


def _load(file: BinaryIO, begins: bytes) -> Any:
    if file.read(len(begins)) != begins:
        raise Refused("it does not begin as such a file of NumPy does")
    file.seek(0)
    return np.load(file, allow_pickle=False)
