"""What files of PyTorch hold: today's archives, several pickles from before 1.6, TorchScript, whose code is not run.

Archives are read strictly, and the CRC of all that is read is checked; older files have none. All objects are made by
`pickle_reader`, with what this file gives for the names in it: tensors, plain containers, and inert stand-ins.
"""

import functools
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from modprompt.io.archives import is_archive, read_member, read_members, verify
from modprompt.io.flat_tensors import ITEM_SIZES, Flats
from modprompt.io.pickle_reader import MOST_BYTES, Inert, Name, PickleReader, is_key, require_small
from modprompt.io.safe_open import Bytes, Refused

OPTIMISERS = ("torch.optim.", "dassl.optim.")
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of files from before PyTorch 1.6
_NOT_READ = ("code/", "constants", "extra/")  # of TorchScript
_LEAST_ROOM = 64 << 20  # bytes that a tensor made larger by strides of 0 may use in any file
_MOST_AXES = 64
_STORAGES = {  # by their names in a pickle
    f"{module}.{name}Storage": kind
    for module in ("torch", "torch.storage")
    for name, kind in (
        ("Double", "float64"), ("Float", "float32"), ("Half", "float16"), ("BFloat16", "bfloat16"), ("Long", "int64"),
        ("Int", "int32"), ("Short", "int16"), ("Char", "int8"), ("Byte", "uint8"), ("Bool", "bool"),
        ("ComplexDouble", "complex128"), ("ComplexFloat", "complex64"),
    )
}  # fmt: skip


class Contents(NamedTuple):
    """What a file holds, for TorchScript the module; the names that its pickle asks for, and where that ends."""

    value: Any
    names: Mapping[str, Any]
    end: int
    is_torchscript: bool = False


# ---------------------------------------------------------------------- what names stand for


class _Flat(NamedTuple):
    """A storage: its key, its numbers, and the bytes that a tensor on it may use."""

    key: str
    numbers: Tensor
    room: int


def _require(fits: bool) -> None:
    if not fits:
        raise ValueError("arguments that PyTorch does not write")


def _are_counts(values: Any) -> bool:
    return isinstance(values, tuple) and all(type(value) is int and value >= 0 for value in values)


def _tensor(
    flat: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = None, hooks: Any = None, more: Any = None
) -> Tensor:
    """A view of a storage that stays inside it."""
    _require(isinstance(flat, _Flat) and type(offset) is int and offset >= 0 and more is None)
    _require(_are_counts(size) and _are_counts(stride) and len(size) == len(stride) <= _MOST_AXES)
    _require(requires_grad in (None, True, False) and (hooks is None or isinstance(hooks, dict)))
    numel, last = 1, offset
    for length, step in zip(size, stride):
        numel *= length
        last += (length - 1) * step
    numbers = flat.numbers
    if numel and last >= numbers.numel() or numel * numbers.element_size() > flat.room:
        raise Refused(f"it has a tensor that is larger than its storage {flat.key[:40]}")
    tensor = torch.as_strided(numbers, tuple(size), tuple(stride), offset)
    return tensor.requires_grad_() if requires_grad else tensor


def _parameter(tensor: Any, requires_grad: Any, hooks: Any) -> torch.nn.Parameter:
    _require(isinstance(tensor, Tensor) and requires_grad in (None, True, False) and isinstance(hooks, dict))
    return torch.nn.Parameter(tensor.detach(), bool(requires_grad))


def _ordered(pairs: Any = None) -> "OrderedDict[Any, Any]":
    """Empty, or of [key, value] pairs as Python 2 wrote it."""
    _require(pairs is None or isinstance(pairs, list))
    for pair in pairs or ():
        _require(isinstance(pair, (list, tuple)) and len(pair) == 2 and is_key(pair[0]))
    return OrderedDict(pairs or ())


def _counter(values: Any = None) -> "Counter[Any]":
    _require(values is None or isinstance(values, dict))
    return Counter(values)


def _plain_dict(*default: Any) -> dict[Any, Any]:
    """A dict, or a defaultdict without its default."""
    _require(len(default) < 2 and all(isinstance(one, (Name, type(None))) for one in default))
    return {}


def _set(items: Any) -> "set[Any]":
    _require(isinstance(items, list) and all(map(is_key, items)))
    return set(items)


def _size(lengths: Any) -> torch.Size:
    _require(_are_counts(lengths))
    return torch.Size(lengths)


def _bytes(text: Any, codec: Any) -> bytes:
    """Bytes, which protocol 2 writes as text and the name of a codec."""
    _require(isinstance(text, str) and codec in ("latin1", "latin-1"))
    encoded: bytes = text.encode("latin1")
    return encoded


class _NumpyType(Inert):
    """numpy's dtype of plain numbers and texts, by its name."""

    def __init__(self, name: Any, *_: Any):
        super().__init__("numpy.dtype")
        _require(isinstance(name, str) and len(name) <= 32)
        self.dtype = np.dtype(name)
        if self.dtype.kind not in "biufcSU" or self.dtype.itemsize > 1 << 16:
            raise Refused(f"it has a numpy value of the type {name!r}")

    def take(self, state: Any) -> None:
        """(version, byte order, ...) of plain types."""
        plain = isinstance(state, tuple) and state[1:2] in (("<",), ("|",), ("=",))
        if not plain or any(part is not None for part in state[2:5]):
            raise Refused("it has a numpy value of a type that is not plain")


def _numpy_scalar(kind: Any, content: Any) -> Any:
    fits = isinstance(kind, _NumpyType) and isinstance(content, bytes) and len(content) == kind.dtype.itemsize
    if not fits:
        raise Refused("it has a numpy value that is not whole")
    return np.frombuffer(content, kind.dtype)[0]


_MAKERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "collections.Counter": _counter,
    "collections.defaultdict": _plain_dict,
    "builtins.dict": _plain_dict,
    "builtins.set": _set,
    "_codecs.encode": _bytes,
    "numpy.dtype": _NumpyType,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}


def _of_checkpoint(full: str) -> Any:
    """What a name in a checkpoint stands for: optimisers and schedules come out inert."""
    if full in _MAKERS or full in _STORAGES:
        return Name(full, _MAKERS.get(full))
    if full.startswith(OPTIMISERS):
        return Name(full, functools.partial(Inert, full))
    module, _, name = full.rpartition(".")
    kind = vars(torch).get(name)
    if module == "torch" and isinstance(kind, torch.dtype):
        return kind
    raise Refused(f"it asks for {full}, which no checkpoint needs")


_BUILDERS = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag")
_MARKED = ("torch.device", *(f"torch.jit._pickle.{name}" for name in _BUILDERS))


def _of_torchscript(full: str) -> Any:
    """What a name in a TorchScript archive stands for: objects of its own classes come out inert."""
    if full.startswith("__torch__."):
        return Name(full, functools.partial(Inert, full))
    return Name(full, lambda value=None, *_: value) if full in _MARKED else _of_checkpoint(full)


def tensors_of(record: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """(path of attributes, tensor) of a TorchScript module, then of the modules in it.

    Only the code tells a buffer from another tensor that is an attribute of a module: both are given.

    Raises:
        Refused: if it is no module, or one that can only be read by running its code.
    """
    if not isinstance(record, Inert) or not isinstance(record.state, dict):
        raise Refused(f"its module {prefix.rstrip('.')!r} can only be read by running its code, which is not done")
    for name, value in record.state.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value.detach()
    for name, value in record.state.items():  # every module knows whether it is being trained
        if isinstance(value, Inert) and (not isinstance(value.state, dict) or "training" in value.state):
            yield from tensors_of(value, f"{prefix}{name}.")


# ---------------------------------------------------------------------- where the storages are


class _Storages:
    """The storages of a file by key, each made when the pickle first refers to it.

    Args:
        read: gives the numbers of one, of this key, type and length.
        place: puts them where they belong, by the device that the file names.
        size: bytes of the file.
    """

    def __init__(self, read: Callable[[str, str, int], Tensor], place: Callable[[Tensor, str], Tensor], size: int):
        self._read, self._place, self._left, self._room = read, place, size, max(size, _LEAST_ROOM)
        self.found: dict[str, tuple[str, int, _Flat]] = {}

    def __call__(self, reference: Any) -> _Flat:
        """The storage that a pickle refers to.

        Raises:
            Refused: if it is none of the file's.
        """
        if type(reference) is not tuple or len(reference) not in (5, 6):
            raise Refused("it refers to something outside that is no storage")
        word, name, key, location, numel, *view = reference
        kind = _STORAGES.get(name.full) if isinstance(name, Name) else None
        fits = all(isinstance(part, str) for part in (word, key, location)) and word == "storage"
        if not fits or kind is None or type(numel) is not int or numel < 0 or any(one is not None for one in view):
            raise Refused("it refers to something outside that is no storage")
        if key not in self.found:
            self._left -= numel * ITEM_SIZES[kind]
            if self._left < 0:
                raise Refused(f"its storage {key[:40]} is larger than the file")
            numbers = self._place(self._read(key, kind, numel), location)
            self.found[key] = kind, numel, _Flat(key, numbers, self._room)
        if self.found[key][:2] != (kind, numel):
            raise Refused(f"its storage {key[:40]} has another size than it says")
        return self.found[key][2]


def _nothing(full: str) -> Any:
    raise Refused(f"it asks for {full}, which no checkpoint needs")


def _pickle(
    text: bytes, start: int, names: Callable[[str], Any] = _nothing, storages: _Storages | None = None
) -> Contents:
    reader = PickleReader(text, names, storages, start, keys=(Tensor,))
    value = reader.read()
    require_small(value, reader.at - start)
    return Contents(value, reader.names, reader.at)


def _stay(numbers: Tensor, _: str) -> Tensor:
    return numbers


def load(content: Bytes, own: bool = False, place: Callable[[Tensor, str], Tensor] = _stay) -> Contents:
    """What a file of PyTorch holds.

    Args:
        content: the file, which is mapped if it is an archive, or its bytes.
        own: its storages are read into their own memory, not mapped.
        place: gives the numbers of a storage on the device where they belong; the file names one. By default the CPU.

    Raises:
        Refused: if it is damaged, or holds what no checkpoint needs.
    """
    return _archive(content, own, place) if is_archive(content) else _old_file(content, place)


def _archive(content: Bytes, own: bool, place: Callable[[Tensor, str], Tensor]) -> Contents:
    members = read_members(content)
    folder = next(iter(members), "").split("/")[0] + "/"
    if not all(name.startswith(folder) for name in members):
        raise Refused("its members are not all in one folder")
    records = {name[len(folder) :]: member for name, member in members.items()}
    is_torchscript = "constants.pkl" in records
    read = {name: member for name, member in records.items() if not name.startswith(_NOT_READ)}
    if "data.pkl" not in read:
        raise Refused("it has no data.pkl")
    packed = next((name for name, member in read.items() if member.deflated), None)
    if packed:
        raise Refused(f"its member {packed} is packed")
    if "byteorder" in read and read_member(content, read["byteorder"], 16) != sys.byteorder.encode():
        raise Refused("it was written on a machine of the other byte order")
    verify(content, read.values())
    flats = Flats(content, own)

    def numbers(key: str, kind: str, numel: int) -> Tensor:
        member = read.get(f"data/{key}")
        if member is None or member.size != numel * ITEM_SIZES[kind]:
            raise Refused(f"its storage {key[:40]} is missing, or has another size than it says")
        return flats.read(kind, numel, member.start)

    text = read_member(content, read["data.pkl"], MOST_BYTES)
    names = _of_torchscript if is_torchscript else _of_checkpoint
    saved = _pickle(text, 0, names, _Storages(numbers, place, content.size))
    if saved.end != len(text):
        raise Refused("its pickle ends early")
    return saved._replace(is_torchscript=is_torchscript)


def _old_file(content: Bytes, place: Callable[[Tensor, str], Tensor]) -> Contents:
    """A file of five pickles from before PyTorch 1.6; the storages follow them."""
    text = content.read(0, content.size)
    if text[257:262] == b"ustar":
        raise Refused("it is a tar archive, as PyTorch wrote before 0.1.10: those are not read")
    if text[:1] != b"\x80":
        raise Refused("it is none of PyTorch's files: PyTorch writes zip archives, and pickles before 1.6")
    storages = _Storages(lambda _, kind, numel: torch.empty(numel, dtype=getattr(torch, kind)), place, len(text))
    magic = _pickle(text, 0)
    if magic.value != _MAGIC:
        raise Refused("it is none of PyTorch's files")
    version = _pickle(text, magic.end)
    if version.value != _PROTOCOL:
        raise Refused("its version is not known")
    machine = _pickle(text, version.end)
    saved = _pickle(text, machine.end, _of_checkpoint, storages)
    keys = _pickle(text, saved.end)
    _fill(storages, keys.value, Flats(content), keys.end)
    return saved


def _fill(storages: _Storages, keys: Any, flats: Flats, at: int) -> None:
    """Read the numbers of all storages, which follow in the order of `keys`, each after its length (8 bytes)."""
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages.found):
        raise Refused("it is cut off, or has other storages than it says")
    for key in map(str, keys):
        kind, numel, flat = storages.found[key]
        if flats.read("int64", 1, at).item() != numel:
            raise Refused(f"its storage {key[:40]} is not there, or has another size than it says")
        flat.numbers.copy_(flats.read(kind, numel, at + 8))
        at += 8 + numel * ITEM_SIZES[kind]
