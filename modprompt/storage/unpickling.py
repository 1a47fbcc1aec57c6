"""What the names in a checkpoint's pickle stand for here: tensors, plain containers, and inert stand-ins.

Functions and classes of PyTorch, numpy and Dassl are never handed to a pickle: each name gives something of this file.
It serves PyTorch's own restricted loader as safe globals, and our unpickler where that loader takes none by name.
"""

import collections
import io
import mmap
import pickle
from typing import Any, Callable, Counter, Dict, Mapping, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from modprompt.storage.opening import Bytes, Refused
from modprompt.storage.pickle_values import ITEM_SIZES, Storage

OPTIMISERS = ("torch.optim.", "dassl.optim.")
_PORTION = 4 << 20  # bytes that are read at a time
_NUMPY_TYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "i2",  # numpy has none of its own
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "ComplexDoubleStorage": "c16",
    "ComplexFloatStorage": "c8",
}


class StandIn:
    """Stands for an optimiser or schedule object in an old checkpoint: takes any state, does nothing."""

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> "StandIn":
        """Whatever it is made with."""
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class Kept(StandIn):
    """A stand-in that keeps its state; a subclass names what it stands for."""

    __slots__ = ("state",)
    name = ""
    state: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> "Kept":
        """As StandIn."""
        made = object.__new__(cls)
        made.state = {}
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


class NumpyType:
    """numpy's dtype of plain numbers and texts, by its name."""

    def __init__(self, name: Any, align: Any = False, copy: Any = False):
        self.dtype = np.dtype(name)
        if self.dtype.kind not in "biufcSU" or self.dtype.itemsize > 1 << 16:
            raise Refused(f"it has a numpy value of the type {str(name)[:40]!r}")

    def __setstate__(self, state: Sequence[Any]) -> None:
        """(version, byte order, ...) of plain types."""
        if state[1] not in ("<", "|", "=") or any(part is not None for part in state[2:5]):
            raise Refused("it has a numpy value of a type that is not plain")


def numpy_scalar(kind: NumpyType, content: bytes) -> Any:
    """A single value of numpy."""
    if not isinstance(kind, NumpyType) or not isinstance(content, bytes) or len(content) != kind.dtype.itemsize:
        raise Refused("it has a numpy value that is not whole")
    return np.frombuffer(content, kind.dtype)[0]


def _plain_dict(*_: Any) -> Dict[Any, Any]:
    return {}


def _counter(values: Union[Mapping[Any, int], Tuple[()]] = ()) -> Counter[Any]:
    return collections.Counter(dict(values))


def _bytes(text: str, _: str) -> bytes:
    return text.encode("latin1")


def _tensor(
    flat: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], requires_grad: Any = False, *_: Any
) -> Tensor:
    """A view of a flat tensor that is a storage."""
    tensor = torch.as_strided(flat, tuple(size), tuple(stride), offset)
    return tensor.requires_grad_() if requires_grad else tensor


def _parameter(tensor: Tensor, requires_grad: Any, _: Any) -> torch.nn.Parameter:
    return torch.nn.Parameter(tensor.detach(), bool(requires_grad))


MAKERS: Dict[str, Any] = {  # by names that PyTorch's loader does not know
    "collections.defaultdict": _plain_dict,
    "builtins.dict": _plain_dict,
    "numpy.dtype": NumpyType,
    "numpy.core.multiarray.scalar": numpy_scalar,
    "numpy._core.multiarray.scalar": numpy_scalar,
}
_OWN_MAKERS: Dict[str, Any] = {
    **MAKERS,
    "collections.OrderedDict": collections.OrderedDict,
    "collections.Counter": _counter,
    "builtins.set": set,
    "_codecs.encode": _bytes,
    "torch.Size": torch.Size,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}


def is_storage(module: str, name: str) -> bool:
    """Whether a name is that of a storage."""
    return module in ("torch", "torch.storage") and name in ITEM_SIZES


def admits(module: str, name: str) -> bool:
    """Whether a checkpoint may ask for a name.

    Raises:
        Refused: for a name with a dot in it.
    """
    if "." in name:
        raise Refused(f"it asks for {module}.{name}, a part of something else")
    full = f"{module}.{name}"
    is_type = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
    return full in _OWN_MAKERS or full.startswith(OPTIMISERS) or is_type or is_storage(module, name)


def stand_in(name: str, kept: bool) -> type:
    """The class that an optimiser or schedule comes out as."""
    return type("Kept", (Kept,), {"__slots__": (), "name": name}) if kept else StandIn


def maker(module: str, name: str, kept: bool = False) -> Any:
    """What a name of a checkpoint stands for."""
    module = "builtins" if module == "__builtin__" else module
    full = f"{module}.{name}"
    if full in _OWN_MAKERS:
        return _OWN_MAKERS[full]
    if is_storage(module, name):
        return name
    if full.startswith(OPTIMISERS):
        return stand_in(full, kept)
    if admits(module, name):
        return getattr(torch, name)  # a dtype
    raise Refused(f"it asks for {full}, which a checkpoint has no need of")


class _Unpickler(pickle.Unpickler):
    """Gives a pickle what `make` has for its names, and flat tensors for its storages."""

    def __init__(self, text: bytes, make: Callable[[str, str], Any], flats: Mapping[str, Tensor]):
        super().__init__(io.BytesIO(text), encoding="utf-8")
        self.make, self.flats = make, flats

    def find_class(self, module: str, name: str) -> Any:
        return self.make(module, name)

    def persistent_load(self, pid: Any) -> Tensor:
        return self.flats[pid[2]]


def unpickle(text: bytes, make: Callable[[str, str], Any], flats: Mapping[str, Tensor]) -> Any:
    """What a pickle holds, once `pickles.check` has let it pass.

    Args:
        text: the pickle.
        make: gives what a name (module, name) stands for.
        flats: the storages by key, each a flat tensor.
    """
    return _Unpickler(text, make, flats).load()


class Flats:
    """Storages of a file as flat tensors, mapped where the file is: pages are read when they are needed.

    Args:
        content: the file, or its bytes.
        own: read each storage into memory of its own instead, with no second copy of it on the way.
    """

    def __init__(self, content: Bytes, own: bool = False):
        self._content = content
        self._map = None
        if content.file is not None and content.size and not own:
            self._map = mmap.mmap(content.file, 0, access=mmap.ACCESS_COPY)

    def read(self, storage: Storage, start: int) -> Tensor:
        """The elements (numel,) of a storage whose bytes begin at `start`."""
        kind = np.dtype(_NUMPY_TYPES[storage.kind])
        if not storage.numel:
            flat = np.empty(0, kind)
        elif self._map is None or start % kind.itemsize:
            flat = self._copy(kind, storage, start)
        else:
            flat = np.frombuffer(self._map, kind, storage.numel, start)
        tensor = torch.from_numpy(flat)
        return tensor.view(torch.bfloat16) if storage.kind == "BFloat16Storage" else tensor

    def _copy(self, kind: np.dtype, storage: Storage, start: int) -> np.ndarray:
        flat = np.empty(storage.numel, kind)
        raw = flat.view(np.uint8)
        for at in range(0, storage.size, _PORTION):
            count = min(_PORTION, storage.size - at)
            raw[at : at + count] = np.frombuffer(self._content.read(start + at, count), np.uint8)
        return flat
