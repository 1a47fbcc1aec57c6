"""What was read, in a form that compares bit by bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch


def plain(item: Any) -> Any:
    """A content as tuples, texts and bytes: tensors and arrays with type and shape, numbers with all their digits."""
    if isinstance(item, torch.Tensor):
        bare = item.detach().flatten().clone(memory_format=torch.contiguous_format)  # one number may have any stride
        return str(item.dtype), tuple(item.shape), bare.view(torch.uint8).numpy().tobytes() if bare.numel() else b""
    if isinstance(item, np.ndarray):
        return item.dtype.str, item.shape, item.tobytes()
    if isinstance(item, dict):
        return tuple((plain(key), plain(value)) for key, value in item.items())
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return type(item).__name__, plain(vars(item))
    if isinstance(item, (list, tuple)):
        return type(item).__name__, *(plain(part) for part in item)
    return (type(item).__name__, repr(item)) if not isinstance(item, (str, bytes)) else item


def tree(folder: Path) -> dict[str, bytes]:
    """All files of a folder by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b"folder"
        for path in sorted(folder.rglob("*"))
    }
