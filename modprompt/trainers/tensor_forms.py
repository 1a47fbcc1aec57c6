"""Forms of tensors, and of plain values by an example that a run has."""

from typing import Any, Dict, Mapping

import torch
from torch import Tensor

from modprompt.storage.forms import Form, anything, flag, number, only, refuse, row_of, shown, table, text

_EXCHANGED = (torch.float16, torch.bfloat16, torch.float32)  # a run in half precision may go on where there is none


def tensor_like(example: Tensor, finite: bool = True) -> Form:
    """A dense tensor on the CPU of an example's shape and type (or another float that is exchanged), without NaN.

    Args:
        example: of the run.
        finite: infinite numbers are refused, too.
    """

    def form(value: Any, where: str) -> None:
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
            refuse(where, f"{shown(value)}, not a dense tensor")
        if value.device.type != "cpu":
            refuse(where, f"on the device {value.device.type}, which has no numbers")
        if value.shape != example.shape:
            refuse(where, f"of shape {tuple(value.shape)}, not {tuple(example.shape)}")
        if value.dtype != example.dtype and not {value.dtype, example.dtype} <= set(_EXCHANGED):
            refuse(where, f"of {value.dtype}, not {example.dtype}")
        if torch.isnan(value).any() or (finite and torch.isinf(value).any()):
            refuse(where, "not made of finite numbers")

    return form


def tensors_like(examples: Mapping[str, Tensor]) -> Form:
    """Just the tensors of these names, as tensor_like."""
    names = only(list(examples))
    inner = table({name: tensor_like(example) for name, example in examples.items()})

    def form(value: Any, where: str) -> None:
        inner(value, where)
        names(value, where)

    return form


def like(example: Any) -> Form:
    """A plain value of an example's kind; tables and lists with the same parts."""
    if isinstance(example, Tensor):
        return tensor_like(example)
    if isinstance(example, dict):
        return table({key: like(item) for key, item in example.items()})
    if isinstance(example, (list, tuple)):
        return row_of(*map(like, example))
    kinds: Dict[type, Form] = {bool: flag, int: number(), float: number(infinite=True), str: text()}
    return kinds.get(type(example), anything)


def is_scalar(value: Any) -> bool:
    plain = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    return plain and not value.is_quantized and value.dim() == 0


def rate(value: Any, where: str) -> None:
    """A rate, or the 0-d tensor that holds one."""
    number(0)(value.item() if is_scalar(value) else value, where)


def equal(own: Any) -> Form:
    """A plain value that settings decide: the same as the run has."""

    def form(value: Any, where: str) -> None:
        if not _same(value, own):
            refuse(where, f"{shown(value)}, not {shown(own)} as here")

    return form


def _same(value: Any, own: Any) -> bool:
    if isinstance(own, Tensor) or isinstance(value, Tensor):
        return is_scalar(own) and is_scalar(value) and bool(own.item() == value.item())
    if isinstance(own, (list, tuple)):
        pairs = list(zip(value, own)) if isinstance(value, (list, tuple)) else []
        return isinstance(value, (list, tuple)) and len(value) == len(own) and all(_same(*pair) for pair in pairs)
    return isinstance(value, bool) == isinstance(own, bool) and bool(value == own)
