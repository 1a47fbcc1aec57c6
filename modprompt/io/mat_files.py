"""Files of MATLAB 5, read within bounds: numbers, texts, cells and structs, and none of MATLAB's objects.

SciPy's reader is written in C and trusts them: one flipped bit can end the process.
"""

import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from modprompt.io.safe_open import PathLike, Refused, read_bytes

_MOST_BYTES = 1 << 28  # of a file, and of what an element unpacks to
_MOST_LEVELS = 20
_HEADER = 128
_TAG = 8
_MATRIX, _PACKED, _TEXTS = 14, 15, {16: "utf-8", 17: "utf-16-le", 18: "utf-32-le"}
_NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
_CELL, _STRUCT, _CHARACTERS, _OF_NUMBERS = 1, 2, 4, range(6, 16)
_COMPLEX = 0x0800


class _Element(NamedTuple):
    """A part of a file: its type, and its bytes."""

    kind: int
    content: bytes


class _Elements:
    """Consecutive parts."""

    def __init__(self, content: bytes, at: int = 0):
        self._content, self._at = content, at

    def __bool__(self) -> bool:
        return self._at < len(self._content)

    def next(self) -> _Element:
        """The next part.

        Raises:
            Refused: if there is none that is whole.
        """
        if len(self._content) - self._at < _TAG:
            raise Refused("it is cut off")
        first, size = struct.unpack_from("<2I", self._content, self._at)
        if first >> 16:  # up to four bytes are in the tag itself
            kind, size, start = first & 0xFFFF, first >> 16, self._at + 4
            if size > 4:
                raise Refused("it has a malformed small part")
            self._at += _TAG
        else:
            kind, start = first, self._at + _TAG
            self._at = start + size if kind == _PACKED else start + size + -size % 8
        content = self._content[start : start + size]
        if len(content) < size:
            raise Refused("it is cut off")
        return _Element(kind, content)

    def numbers(self) -> np.ndarray:
        """The next part, which is of numbers."""
        return _numbers(self.next())


def _numbers(element: _Element) -> np.ndarray:
    if element.kind not in _NUMBERS:
        raise Refused(f"it has a part of type {element.kind} in place of numbers")
    dtype = np.dtype(_NUMBERS[element.kind])
    if len(element.content) % dtype.itemsize:
        raise Refused("it has a number that is cut off")
    return np.frombuffer(element.content, dtype)


def read_mat(path: PathLike) -> dict[str, np.ndarray]:
    """The variables of a file by name, in the form that scipy.io.loadmat gives them.

    Numbers are arrays of MATLAB's shape and of the type that they are stored in; a text is an array of the rows' texts,
    cells are arrays of objects, structs are records of objects.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is not a regular file, may not be read, or is larger than 256 MB.
        Refused: in one line, if it is damaged, not a file of MATLAB 5, or holds anything else.
    """
    content = read_bytes(path)
    if len(content) < _HEADER or content[124:128] != b"\0\1IM":
        raise Refused("it is no file of MATLAB 5")
    variables: dict[str, np.ndarray] = {}
    elements = _Elements(content, _HEADER)
    while elements:
        element = elements.next()
        if element.kind == _PACKED:
            element = _Elements(_unpacked(element.content)).next()
        name, value = _matrix(element, 0)
        variables[name] = value
    return variables


def _unpacked(content: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(content, _MOST_BYTES)
    except zlib.error as error:
        raise Refused(f"it is damaged ({error})") from None
    if not unpacker.eof:
        raise Refused(f"a part of it is cut off, or larger than {_MOST_BYTES:,} bytes")
    return text


def _matrix(element: _Element, level: int) -> tuple[str, np.ndarray]:
    """(name, value) of an array of any class."""
    if element.kind != _MATRIX:
        raise Refused(f"it has a part of type {element.kind} in place of an array")
    if level > _MOST_LEVELS:
        raise Refused(f"it is nested deeper than {_MOST_LEVELS} levels")
    if not element.content:
        return "", np.zeros((0, 0))
    parts = _Elements(element.content)
    flags, shape = parts.numbers(), _shape(parts.numbers(), len(element.content))
    name = _name(parts.next().content)
    if len(flags) != 2 or int(flags[0]) & _COMPLEX:
        raise Refused("it has complex numbers, or a damaged array")
    kind = int(flags[0]) & 0xFF
    if kind in _OF_NUMBERS:
        return name, _shaped(parts.numbers(), shape)
    makers: dict[int, Callable[[_Elements, tuple[int, ...], int], np.ndarray]] = {
        _CELL: _cells,
        _STRUCT: _records,
        _CHARACTERS: _texts,
    }
    if kind not in makers:
        raise Refused(f"its variable {name[:40]!r} has a class that is not read ({kind})")
    return name, makers[kind](parts, shape, level + 1)


def _shape(sides: np.ndarray, most: int) -> tuple[int, ...]:
    """The sides of an array; a file of so many bytes holds no more elements."""
    shape, count = tuple(int(side) for side in sides.tolist()), 1
    for side in shape:
        if side < 0 or side > most:
            raise Refused("it has an array of a size that it cannot have")
        count *= side
    if not 2 <= len(shape) <= 32 or count > most:
        raise Refused("it has an array of a size that it cannot have")
    return shape


def _name(content: bytes) -> str:
    try:
        return content.split(b"\0")[0].decode("ascii")
    except UnicodeDecodeError:
        raise Refused("it has a malformed name") from None


def _shaped(flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Elements by column as an array of that shape."""
    if flat.size != int(np.prod(shape, dtype=np.int64)):
        raise Refused(f"it has {flat.size} elements for an array of {shape}")
    return flat.reshape(shape, order="F")


def _texts(parts: _Elements, shape: tuple[int, ...], _: int) -> np.ndarray:
    """Each row as a text."""
    element = parts.next()
    if element.kind in _TEXTS:
        try:
            letters = list(element.content.decode(_TEXTS[element.kind]))
        except UnicodeDecodeError:
            raise Refused("it has a malformed text") from None
    else:
        letters = [chr(code) for code in _numbers(element).tolist() if type(code) is int and 0 <= code < 0xD800]
    if 0 in shape:
        return np.array([], "<U1")
    flat = np.empty(len(letters), "<U1")
    flat[:] = letters
    table = _shaped(flat, shape)
    rows = ["".join(row) for row in table.reshape(-1, shape[-1]).tolist()]
    return np.array(rows).reshape(shape[:-1])


def _cells(parts: _Elements, shape: tuple[int, ...], level: int) -> np.ndarray:
    return _objects([_matrix(parts.next(), level)[1] for _ in range(int(np.prod(shape, dtype=np.int64)))], shape)


def _objects(values: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    flat = np.empty(len(values), object)
    for number, value in enumerate(values):  # as one, NumPy would look into them
        flat[number] = value
    return _shaped(flat, shape)


def _records(parts: _Elements, shape: tuple[int, ...], level: int) -> np.ndarray:
    length, text = parts.numbers(), parts.next().content
    size = int(length[0]) if len(length) == 1 else 0
    if not 0 < size <= 64 or len(text) % size:
        raise Refused("it has a struct without names")
    names = [_name(text[at : at + size]) for at in range(0, len(text), size)]
    if len(set(names)) < len(names) or not all(names):
        raise Refused("it has a struct with a name twice, or none")
    values = [tuple(_matrix(parts.next(), level)[1] for _ in names) for _ in range(int(np.prod(shape, dtype=np.int64)))]
    flat = np.empty(len(values), [(name, object) for name in names])
    for number, value in enumerate(values):
        flat[number] = value
    return _shaped(flat, shape)
