"""Files of MATLAB 5, read by SciPy, whose reader is written in C: a wrong byte in one may end the process."""

import io
import subprocess
import sys
from typing import TYPE_CHECKING

from modprompt.io.safe_open import PathLike, Refused, read_bytes

if TYPE_CHECKING:
    import numpy as np

_TRY = "import io, sys; from scipy.io import loadmat; loadmat(io.BytesIO(sys.stdin.buffer.read()))"


def read_mat(path: PathLike) -> "dict[str, np.ndarray]":
    """The variables of a file by name, as scipy.io.loadmat gives them; a process of its own reads them first.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is no file, or may not be read.
        Refused: in one line, if it is damaged or no such file.
    """
    content = read_bytes(path)
    tried = subprocess.run([sys.executable, "-c", _TRY], input=content, capture_output=True, check=False)
    if tried.returncode:
        said = tried.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Refused(said[-1][:160] if tried.returncode > 0 and said else "reading it ended the reader")
    from scipy.io import loadmat  # late: it takes a moment

    found: dict[str, np.ndarray] = loadmat(io.BytesIO(content))
    return {name: value for name, value in found.items() if not name.startswith("__")}
