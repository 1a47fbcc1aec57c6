"""Files of safetensors: written whole; their tensors in their own memory, and what their headers say.

The package `safetensors` checks the header of an open file; the tensors' bytes are then read from that same file, one
tensor after the other. Nothing that is returned is mapped: mapped pages would count as memory besides the copies, and
cutting off a mapped file ends the process that reads it.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

from modprompt.errors import UserError
from modprompt.io import json_text
from modprompt.io.atomic import part_of
from modprompt.io.flat_tensors import ITEM_SIZES, Flats
from modprompt.io.safe_open import Bytes, Refused, open_regular

if TYPE_CHECKING:
    from torch import Tensor

PathLike = str | Path
_Found = TypeVar("_Found")
_OPEN_FILES = "/proc/self/fd"  # where the system names open files
_LENGTH = 8  # bytes before the header, which say how long it is
_METADATA = "__metadata__"  # texts by name, among the tensors of a header
_POINTER = "version https://git-lfs"
_KINDS = {  # what PyTorch calls a type
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}


class _Place(NamedTuple):
    """What a header says about a tensor: its type, its shape, and where its bytes begin and end in the file."""

    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_safetensors(path: PathLike) -> "dict[str, Tensor]":
    """All tensors of a file on the CPU, each in its own memory, with the type and shape that it has there.

    The file may be replaced, overwritten or cut off afterwards.

    Raises:
        UserError: if the file is missing, damaged, cut off, changed meanwhile, not a safetensors file, or has tensors
            of a type that is not read; or if the package `safetensors` is not installed.
    """
    return _read(path, lambda content, header: _tensors(content, _places(header)))


def read_with_metadata(path: PathLike) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """As `read_safetensors`, and the texts stored with the tensors, by name.

    Raises:
        UserError: as `read_safetensors`, or if these are not texts.
    """
    return _read(path, lambda content, header: (_tensors(content, _places(header)), _metadata(header)))


def write_safetensors(path: PathLike, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str]) -> None:
    """Write tensors and texts to a file that is either complete or not there, with its folders.

    Raises:
        UserError: if the package `safetensors` is not installed.
        OSError: if it cannot be written, e.g. on a full disk.
    """
    try:
        from safetensors.torch import save
    except ImportError:
        raise UserError(f"{path} is written with a package that is not installed: pip install safetensors") from None
    content: bytes = save(
        {name: one.detach().cpu().contiguous().clone() for name, one in tensors.items()}, dict(metadata)
    )
    with part_of(path, durable=True) as file:
        file.write(content)


def names_and_shapes(path: PathLike) -> dict[str, tuple[int, ...]]:
    """The shapes of a file's tensors by name, from its header alone, in the file's order.

    Raises:
        UserError: as `read_safetensors`; types are not checked, and damage after the header is not seen.
    """
    return _read(path, lambda _, header: {name: place.shape for name, place in _places(header).items()})


def refuse_pointer(text: str, path: PathLike) -> None:
    """Refuse what Git LFS leaves in place of a large file.

    Raises:
        UserError: if a text begins as such a pointer does.
    """
    if text.startswith(_POINTER):
        raise UserError(f"{path} is a Git LFS pointer, not the file that it stands for: download the real one")


class _Header(NamedTuple):
    """The header before the tensors, by name, and where it ends in the file."""

    entries: dict[str, Any]
    end: int


def _read(path: PathLike, take: Callable[[Bytes, _Header], _Found]) -> _Found:
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise UserError(f"no file at {path}") from None
    with file:
        try:
            before = _state(file)
            content = Bytes(file)
            end = _end_of_header(content, path)
            _judge(file, path)
            found = take(content, _header(content, end))
            if _state(file) != before:
                raise Refused("it was changed while it was read")
            return found
        except (UserError, MemoryError):
            raise
        except Exception as error:  # the package raises many kinds
            raise UserError(f"{path} cannot be read as safetensors ({_line(error)})") from None


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _state(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _end_of_header(content: Bytes, path: PathLike) -> int:
    """Where the header ends, in bytes from the start of the file."""
    head = content.read(0, min(content.size, 64))
    if not head:
        raise Refused("it is empty")
    refuse_pointer(head.decode("latin1"), path)
    end = _LENGTH + int.from_bytes(head[:_LENGTH], "little")
    if end > content.size or len(head) < _LENGTH:
        if head.startswith(b"PK\3\4"):
            raise Refused("it is a zip archive, as torch.save writes, under another name")
        raise Refused(
            f"its header would end at byte {end:,}, the file at {content.size:,}: it is cut off or no such file"
        )
    return end


def _judge(file: BinaryIO, path: PathLike) -> None:
    """Let the package check the header of the open file, and that the file is as long as that says."""
    try:
        from safetensors import safe_open
    except ImportError:
        raise UserError(f"{path} is read with a package that is not installed: pip install safetensors") from None
    opened = f"{_OPEN_FILES}/{file.fileno()}"
    try:
        with safe_open(opened if os.path.exists(opened) else str(path), framework="np"):
            pass
    except Exception as error:
        raise Refused(f"it is cut off, damaged or no such file: {_line(error)}") from None


def _header(content: Bytes, end: int) -> _Header:
    text = content.read(_LENGTH, end - _LENGTH).decode("utf-8")
    return _Header(json_text.parse(text, _once), end)


def _places(header: _Header) -> dict[str, _Place]:
    """Where each tensor is, in the file's order."""
    entries = {name: entry for name, entry in header.entries.items() if name != _METADATA}
    places = {}
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        start, end = entry["data_offsets"]
        places[name] = _Place(entry["dtype"], tuple(entry["shape"]), header.end + start, header.end + end)
    return places


def _metadata(header: _Header) -> dict[str, str]:
    texts = header.entries.get(_METADATA) or {}
    if not all(isinstance(text, str) for text in texts.values()):
        raise Refused("what is stored with its tensors is not text")
    return dict(texts)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused("its header names something twice")
    return found


def _tensors(content: Bytes, places: dict[str, _Place]) -> "dict[str, Tensor]":
    if sys.byteorder != "little":
        raise Refused("its numbers are in the other byte order than this machine's")
    odd = next((name for name, place in places.items() if place.kind not in _KINDS), None)
    if odd is not None:
        raise Refused(f"its tensor {odd[:80]!r} has type {places[odd].kind}, which is not read")
    flats, tensors = Flats(content, own=True), {}
    for name, place in places.items():
        kind = _KINDS[place.kind]
        numel = (place.end - place.start) // ITEM_SIZES[kind]
        tensors[name] = flats.read(kind, numel, place.start).reshape(place.shape)  # fails if there are more or fewer
    return tensors
