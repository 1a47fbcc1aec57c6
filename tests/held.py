"""How many bytes the tensors that are made within a block hold at most at a time, by device."""

import weakref
from collections import Counter
from collections import Counter as CounterOf
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


def _tensors(made: Any) -> list[Tensor]:
    if isinstance(made, Tensor):
        return [made]
    return [one for part in made for one in _tensors(part)] if isinstance(made, (tuple, list)) else []


class Held(TorchDispatchMode):
    """Counts the memory of tensors from when they are made until the last that shares it is gone.

    now, peak: bytes, by device, of tensors that operations have made while it was on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak: CounterOf[str] = Counter()
        self.now: CounterOf[str] = Counter()
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it has made."""
        given = {id(one.untyped_storage()) for one in _tensors(args)}
        out = func(*args, **(kwargs or {}))
        for tensor in _tensors(out):
            storage = tensor.untyped_storage()
            if id(storage) not in given and storage not in self._seen:
                self._add(storage, tensor.device.type)
        return out

    def forget(self) -> None:
        """The peak begins anew."""
        self.peak = Counter(self.now)

    def _add(self, storage: Any, device: str) -> None:
        size = storage.nbytes()
        self._seen.add(storage)
        self.now[device] += size
        self.peak[device] = max(self.peak[device], self.now[device])
        weakref.finalize(storage, self.now.subtract, {device: size})
