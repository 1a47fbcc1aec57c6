"""What the operations of a call launch on a card and where they wait for it; wrong types and devices are errors.

A dispatched operation that is no view and makes no empty tensor counts as one launch.
"""

from collections import Counter
from collections import Counter as CounterOf
from collections.abc import Callable, Iterable, Iterator
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


def _on_card(given: list[Tensor]) -> bool:
    return any(one.device.type == "cuda" for one in given)


class Watch(TorchDispatchMode):
    """Counts and checks every operation that is dispatched while it is on.

    by_name: launches by the operation's name.
    waits: waits by what the host waits for.
    """

    by_name: CounterOf[str]
    waits: CounterOf[str]

    def __init__(self) -> None:
        super().__init__()
        self.by_name = Counter()
        self.waits = Counter()

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
        out = func(*args, **kwargs)
        made = tensors(out)
        if _on_card(given + made) and name not in READS and not func.is_view and not name.startswith(NO_KERNEL):
            self.by_name[name] += 1
        return out

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
    return value, sum(size for _, size in kept.values()) / 2**20
