"""Launches and waits of a call on a card, and what its forward pass keeps for the backward pass."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from tests.fake_cuda.watching import Counted, Watch

MIB = 2**20


def counted(call: Callable[[], Any]) -> Counted:
    """Run a call, under `device.fake_cuda`, and tell what it launched and where it waited.

    Raises:
        Mismatch: if a card would refuse an operation for the types or devices of its tensors.
    """
    with Watch() as watch:
        call()
    return watch.counted()


def kept_mib(call: Callable[[], Any], parameters: Iterable[Tensor]) -> tuple[Any, float]:
    """The value of a call, and MiB that it keeps for the backward pass beside parameters; what is shared counts once."""
    own = {one.untyped_storage()._cdata for one in parameters}
    kept: dict[int, tuple[Tensor, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = tensor, storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = call()
    return value, sum(size for _, size in kept.values()) / MIB
