"""Answers for code that asks a tensor without values for a number: what is compared is equal, what there is is finite."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

DEVICE = torch.ops.prim.device.default  # asked for all the time
READS = ("_local_scalar_dense", "equal")
_FALSE = ("isnan", "isinf")
_NOT = ("logical_not", "bitwise_not")


def tensors(values: Any) -> list[Tensor]:
    """All tensors among an operation's inputs or outputs: values, and lists of them."""
    if isinstance(values, Tensor):
        return [values]
    return [one for value in values for one in tensors(value)] if isinstance(values, (tuple, list)) else []


class Answers(TorchDispatchMode):
    """Answers reads of fake tensors: a truth by how it was made, True otherwise; a number with 1."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer a read, or run an operation and remember what a truth would be."""
        if func is DEVICE:
            return func(*args)
        name = func.overloadpacket.__name__
        if name in READS and any(isinstance(one, FakeTensor) for one in args):
            return _answer(name, args[0])
        out = func(*args, **(kwargs or {}))
        _pass_truth_on(func, name, tensors(args), tensors(out))
        return out


def _answer(name: str, tensor: Tensor) -> Any:
    if name == "equal":
        return True
    value = getattr(tensor, "says", True)
    if tensor.dtype == torch.bool:
        return value
    return float(value) if tensor.is_floating_point() else int(value)


def _pass_truth_on(func: Any, name: str, given: list[Tensor], made: list[Tensor]) -> None:
    """Note on what is made of truths whether it would be False; two tensors are equal, a number is finite."""
    if not (made and isinstance(made[0], FakeTensor)):
        return
    truth = all(getattr(one, "says", True) for one in given)
    if name in _NOT:
        truth = not truth
    if name in _FALSE or func is torch.ops.aten.ne.Tensor:
        truth = False
    if not truth:
        made[0].says = False  # type: ignore[attr-defined]  # ours


def _reading(name: str) -> Callable[..., Any]:
    original = getattr(Tensor, name)  # FakeTensor has a tolist of its own, that reads number by number

    def read(tensor: Tensor, *inputs: Any, **named: Any) -> Any:
        if not isinstance(tensor, FakeTensor):
            return original(tensor, *inputs, **named)
        there = tensor.cpu() if name == "tolist" else tensor  # numpy() refuses a card's, as it should
        if there.device.type != "cpu":
            raise TypeError("can't convert a tensor on a card to numpy: use Tensor.cpu() first")
        with _disable_current_modes():
            return original(torch.zeros(there.shape, dtype=there.dtype), *inputs, **named)

    return read


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Within it reads of fake tensors are answered."""
    with contextlib.ExitStack() as stack:
        for name in ("tolist", "numpy"):
            read = _reading(name)
            for kind in (Tensor, FakeTensor):
                stack.enter_context(mock.patch.object(kind, name, read))
        stack.enter_context(Answers())
        yield
