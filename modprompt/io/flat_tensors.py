"""Runs of numbers of one type in a file, as flat tensors: mapped from the file, or in their own memory."""

import mmap
from typing import TYPE_CHECKING

from modprompt.io.safe_open import Bytes

if TYPE_CHECKING:
    from torch import Tensor

_PORTION = 256 << 10  # bytes that are read at a time: they stay in the cache until they are copied
_NUMPY = {  # PyTorch's types, and what numpy calls them
    "float64": "f8",
    "float32": "f4",
    "float16": "f2",
    "bfloat16": "i2",  # numpy has none of its own
    "int64": "i8",
    "int32": "i4",
    "int16": "i2",
    "int8": "i1",
    "uint8": "u1",
    "bool": "b1",
    "complex128": "c16",
    "complex64": "c8",
}
ITEM_SIZES = {name: int(kind[1:]) for name, kind in _NUMPY.items()}  # bytes


class Flats:
    """Flat tensors of a file.

    Args:
        content: the file, or its bytes. A file is mapped: pages are read when they are needed.
        own: read a file's numbers into their own memory instead, without a second copy on the way.
    """

    def __init__(self, content: Bytes, own: bool = False):
        self._content = content
        self._map = None
        if content.file is not None and content.size and not own:
            self._map = mmap.mmap(content.file, 0, access=mmap.ACCESS_COPY)

    def read(self, kind: str, numel: int, start: int) -> "Tensor":
        """The numbers (numel,) of a type, by its name, whose bytes begin at `start`."""
        import numpy as np  # late: a header needs neither
        import torch

        if self._map is None or not numel or start % ITEM_SIZES[kind]:
            flat = torch.empty(numel, dtype=torch.int16 if kind == "bfloat16" else getattr(torch, kind))
            raw = flat.numpy().view(np.uint8)
            for at in range(0, raw.size, _PORTION):
                count = min(_PORTION, raw.size - at)
                raw[at : at + count] = np.frombuffer(self._content.read(start + at, count), np.uint8)
        else:
            flat = torch.from_numpy(np.frombuffer(self._map, _NUMPY[kind], numel, start))
        return flat.view(torch.bfloat16) if kind == "bfloat16" else flat
