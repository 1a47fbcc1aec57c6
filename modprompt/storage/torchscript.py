"""TorchScript archives, as OpenAI publishes CLIP, read without running them: the tensors alone.

`torch.jit.load` compiles and runs what an archive's code says. Here its modules are inert records, its code and its
constants are never opened, and a tensor's name is the path of attributes that leads to it. Nothing but the code tells a
buffer from another tensor that is an attribute of a module: both are given.
"""

from collections import OrderedDict
from typing import Any, Dict, Iterator, Mapping, Tuple

import torch
from torch import Tensor

from modprompt.storage.opening import Refused
from modprompt.storage.unpickling import is_storage, maker, unpickle

_BUILDERS = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag")
_TENSORS = ("torch._utils._rebuild_tensor_v2", "collections.OrderedDict")


class Record:
    """Stands for an object of an archive's own classes: its attributes, and none of its code."""

    __slots__ = ("state",)
    state: Any

    def __new__(cls, *_: Any) -> "Record":
        """Whatever it is made with."""
        made = object.__new__(cls)
        made.state = None
        return made

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _first(value: Any = None, *_: Any) -> Any:
    return value


def admits(module: str, name: str) -> bool:
    """Whether an archive may ask for a name."""
    if module.split(".")[0] == "__torch__":
        return True
    listed = module == "torch.jit._pickle" and name in _BUILDERS
    kind = module == "torch" and (name == "device" or isinstance(getattr(torch, name, None), torch.dtype))
    return listed or kind or f"{module}.{name}" in _TENSORS or is_storage(module, name)


def _make(module: str, name: str) -> Any:
    if module.split(".")[0] == "__torch__":
        return Record
    return _first if module == "torch.jit._pickle" or (module, name) == ("torch", "device") else maker(module, name)


def _is_module(value: Any) -> bool:
    """Whether an attribute is a module: every one knows whether it is being trained."""
    return isinstance(value, Record) and (not isinstance(value.state, dict) or "training" in value.state)


def _tensors(record: Record, prefix: str = "") -> Iterator[Tuple[str, Tensor]]:
    """(dotted name, tensor) of a module's attributes, then of its modules."""
    if not isinstance(record, Record) or not isinstance(record.state, dict):
        raise Refused(f"its module {prefix.rstrip('.')!r} can be read by running its code alone, which is not done")
    for name, value in record.state.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value.detach()
    for name, value in record.state.items():
        if _is_module(value):
            yield from _tensors(value, f"{prefix}{name}.")


def read(text: bytes, flats: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """The tensors of an archive by name.

    Args:
        text: its data.pkl, which `pickles.check` let pass.
        flats: its storages by key.

    Raises:
        Refused: if it is no module.
    """
    return OrderedDict(_tensors(unpickle(text, _make, flats)))
