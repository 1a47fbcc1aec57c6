"""NumPy's files: .npz, whose CRCs are checked as they are read, .npy, which have none, and MATLAB's."""

import contextlib
import hashlib
import io
import subprocess
import sys
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from modprompt.errors import UserError
from modprompt.io.files import PathLike, Refused, open_regular, part_of, read_bytes
from modprompt.programs import one_line

_TRY = "import io, sys; from scipy.io import loadmat; loadmat(io.BytesIO(sys.stdin.buffer.read()))"


def write_arrays(path: PathLike, *, packed: bool = False, **arrays: np.ndarray) -> None:
    """Write a .npz file whole, with its folders; packed it is smaller, at about a second per 30 MB."""
    save = np.savez_compressed if packed else np.savez
    with part_of(path) as file:
        save(file, **arrays)  # type: ignore[arg-type]  # none of them is called allow_pickle


@contextlib.contextmanager
def _opened(path: PathLike, begins: bytes) -> Iterator[BinaryIO]:
    with open_regular(path) as file:
        try:
            if file.read(len(begins)) != begins:
                raise Refused("the file does not have the header of a NumPy file")
            file.seek(0)
            yield file
        except Exception as error:  # numpy raises many kinds
            raise UserError(f"{path} is damaged ({one_line(error)[:160]}).") from None


def read_arrays(path: PathLike, *names: str) -> dict[str, np.ndarray]:
    """The arrays of these names, or all, in a .npz file; raises FileNotFoundError, or UserError if it is not whole."""
    with _opened(path, b"PK\3\4") as file, np.load(file, allow_pickle=False) as found:
        arrays = {name: found[name] for name in names or found.files}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):  # NumPy gives the bytes of other members
                raise Refused(f"the entry {name[:80]} is not an array")
    return arrays


def read_array(path: PathLike, maps: bool = False) -> np.ndarray:
    """The array in a .npy file, read or only mapped; raises as read_arrays."""
    with _opened(path, b"\x93NUM") as file:
        found: np.ndarray = np.lib.format.open_memmap(path, mode="r") if maps else np.load(file, allow_pickle=False)
        return found


def arrays_hash(what: str, *arrays: np.ndarray) -> str:
    """SHA-256 (hex) of NumPy arrays and of their meaning, to be stored with them."""
    digest = hashlib.sha256(what.encode())
    for array in arrays:
        digest.update(f"\n{array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def read_mat(path: PathLike) -> dict[str, np.ndarray]:
    """The variables of a file of MATLAB 5 by name, as scipy.io.loadmat gives them.

    A process of its own reads them first: SciPy's reader is written in C, and a wrong byte may end the process. Raises
    as read_bytes, and Refused if the file is damaged or no such file.
    """
    content = read_bytes(path)
    tried = subprocess.run([sys.executable, "-c", _TRY], input=content, capture_output=True, check=False)
    if tried.returncode:
        said = tried.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Refused(said[-1][:160] if tried.returncode > 0 and said else "the process that read the file crashed")
    from scipy.io import loadmat  # late: it takes a moment

    found: dict[str, np.ndarray] = loadmat(io.BytesIO(content))
    return {name: value for name, value in found.items() if not name.startswith("__")}
