"""What the operations of a call launch on a card and where they wait for it; wrong types and devices are errors.

A dispatched operation that is no view and makes no empty tensor counts as one launch.
"""

from collections import Counter
from collections import Counter as CounterOf
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.fake_cuda.answers import DEVICE, READS, tensors

# operations that multiply, or normalise, and how many of their inputs must have one type
ONE_TYPE = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "matmul"), 2),
    **dict.fromkeys(("addmm", "baddbmm", "addbmm", "addmv", "_addmm_activation", "linear", "convolution"), 3),
    "convolution_backward": 3,
    "native_layer_norm": 4,
    "_scaled_dot_product_flash_attention": 3,
    "_scaled_dot_product_flash_attention_backward": 4,
    "_scaled_dot_product_cudnn_attention": 4,
    "_scaled_dot_product_cudnn_attention_backward": 4,
    "_scaled_dot_product_efficient_attention": 4,
    "_scaled_dot_product_efficient_attention_backward": 5,
}
COPIES = ("_to_copy", "copy_")
INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_")
NO_KERNEL = ("empty", "new_empty", "detach", "alias", "lift", "_unsafe_view", "_reshape_alias", "is_same_size")
SIZES_FROM_VALUES = ("nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount")


class Mismatch(TypeError):
    """An operation on tensors whose types or devices a card refuses."""


class Counted(NamedTuple):
    """What a call did on a card: launches and waits, and both by the operation's name."""

    launches: int
    waits: int
    by_name: dict[str, int]
    waits_by_name: dict[str, int]


def _formed(one: Any) -> Any:
    """A tensor's form; anything else as it is."""
    return (one.shape, one.stride(), one.dtype) if isinstance(one, Tensor) else one


def _on_card(given: list[Tensor]) -> bool:
    return any(one.device.type == "cuda" for one in given)


class Watch(TorchDispatchMode):
    """Counts and checks every operation that is dispatched while it is on.

    by_name: launches by the operation's name.
    waits: waits by what the host waits for.
    plans: what cuDNN's attention would build a plan for, each once: its operation, tensors and other inputs.
    """

    by_name: CounterOf[str]
    waits: CounterOf[str]
    plans: set[tuple[Any, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.by_name = Counter()
        self.waits = Counter()
        self.plans = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operation, check it, and run it below."""
        if func is DEVICE:
            return func(*args)
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        given = tensors([*args, *kwargs.values()])
        _require_one_device(name, given, args)
        _require_one_type(name, args)
        for wait in _waits(name, given, args, kwargs):
            self.waits[wait] += 1
        if "cudnn_attention" in name:
            self.plans.add((name, *(_formed(one) for one in args)))
        out = func(*args, **kwargs)
        made = tensors(out)
        if _on_card(given + made) and name not in READS and not func.is_view and not name.startswith(NO_KERNEL):
            self.by_name[name] += 1
        return out

    def clear(self) -> None:
        """Count from nothing again."""
        self.by_name.clear()
        self.waits.clear()
        self.plans.clear()

    def counted(self) -> Counted:
        """What was counted so far."""
        return Counted(self.by_name.total(), self.waits.total(), dict(self.by_name), dict(self.waits))


def _require_one_device(name: str, given: list[Tensor], args: Any) -> None:
    if name in COPIES or not _on_card(given):
        return
    if name in INDEXED:
        given = [args[0], *tensors(args[2:])]  # numbers of rows may stand on the CPU
    if any(one.device.type == "cpu" and one.dim() for one in given):
        raise Mismatch(f"{name} of tensors on {' and '.join(sorted({str(one.device) for one in given}))}")


def _require_one_type(name: str, args: Any) -> None:
    inputs = [one for one in args[: ONE_TYPE.get(name, 0)] if isinstance(one, Tensor)]
    if len({one.dtype for one in inputs}) > 1:
        raise Mismatch(f"{name} of {', '.join(f'{one.dtype} {tuple(one.shape)}' for one in inputs)}")


def _waits(name: str, given: list[Tensor], args: Any, kwargs: Any) -> Iterator[str]:
    """What the host waits for: values that are read, sizes made of values, copies that are not asynchronous."""
    if name in COPIES:
        yield from _blocking_copy(name, given, args, kwargs)
    elif _on_card(given) and name in READS + SIZES_FROM_VALUES:
        yield name
    elif _on_card(given) and name in INDEXED:
        for numbers in tensors(args[1]):
            if numbers.dtype in (torch.bool, torch.uint8):
                yield f"{name} by a mask"
            elif numbers.device.type == "cpu" and numbers.dim():
                yield f"{name} by numbers on the CPU"


def _blocking_copy(name: str, given: list[Tensor], args: Any, kwargs: Any) -> Iterator[str]:
    if name == "copy_":
        to, source = given[0].device.type, given[1].device.type
        non_blocking = kwargs.get("non_blocking", args[2] if len(args) > 2 else False)
    else:
        source = given[0].device.type
        to = torch.device(kwargs.get("device") or source).type
        non_blocking = kwargs.get("non_blocking", False)
    if (source, to) == ("cuda", "cpu"):
        yield f"{name} to the CPU"
    elif (source, to) == ("cpu", "cuda") and not non_blocking:
        yield f"{name} to the card, blocking"
