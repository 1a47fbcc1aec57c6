"""Choices that PyTorch makes by device and that fake tensors hide: the kernel of attention, and foreach optimisers."""

import contextlib
import math
from typing import Any, Iterator, Optional
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import library as torch_library
from torch._subclasses.fake_tensor import FakeTensor
from torch.optim import optimizer

ALIGNED = 16  # elements: a row of a bias begins at a multiple of so many
HALF = (torch.float16, torch.bfloat16)
ONE_KERNEL = ("silu_backward", "mish_backward", "native_channel_shuffle")  # on a card; made of others without one
WRITE_IN_PLACE = ("_fused_sgd_", "_fused_adam_", "_fused_adamw_")  # and PyTorch has no fakes of them
_aten = torch.ops.aten


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Optional[Tensor] = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Optional[float] = None,
    enable_gqa: bool = False,
) -> Tensor:
    """scaled_dot_product_attention as a card runs it: flash where it can, else memory-efficient with a bias."""
    if query.device.type != "cuda":
        return _ORIGINAL(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    if len({query.dtype, key.dtype, value.dtype}) > 1:
        raise TypeError(f"attention of {query.dtype}, {key.dtype} and {value.dtype}")
    if query.shape[-1] % 8:
        raise NotImplementedError("attention of heads whose width is no multiple of 8")
    square = query.shape[-2] == key.shape[-2]
    if attn_mask is None and query.dtype in HALF and (square or not is_causal):
        out: Tensor = _aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, scale=scale)[0]
        return out
    bias = None if attn_mask is None else _bias(attn_mask, query, key)
    needed = torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value))
    efficient = _aten._scaled_dot_product_efficient_attention
    out = efficient(query, key, value, bias, needed, dropout_p, is_causal, scale=scale)[0]
    return out


def _bias(mask: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """What memory-efficient attention adds to scores (B, H, queries, keys) for a mask that is True where to look."""
    if mask.dtype == torch.bool:
        never = torch.full((), -math.inf, dtype=query.dtype, device=mask.device)
        mask = torch.where(mask, 0.0, never)
    elif mask.dtype != query.dtype:
        raise TypeError(f"attention of {query.dtype} with a bias of {mask.dtype}")
    keys = mask.shape[-1]
    if keys % ALIGNED:
        mask = F.pad(mask, (0, ALIGNED - keys % ALIGNED))[..., :keys]
    return mask.expand(*query.shape[:2], query.shape[-2], key.shape[-2])


_ORIGINAL: Any = F.scaled_dot_product_attention


def _nothing(*_: Any, **__: Any) -> None:
    """What an operation does to tensors without values."""


def _never(*_: Any) -> Any:
    raise NotImplementedError("an operation on a card that is not there")


@contextlib.contextmanager
def of_a_card() -> Iterator[None]:
    """Within it attention and optimisers choose as they do on a card."""
    kinds = [*optimizer._foreach_supported_types, FakeTensor]
    with contextlib.ExitStack() as stack:
        for place in (F, torch._C._nn):
            stack.enter_context(mock.patch.object(place, "scaled_dot_product_attention", attention))
        stack.enter_context(mock.patch.object(optimizer, "_foreach_supported_types", kinds))
        kernels = stack.enter_context(torch_library._scoped_library("aten", "IMPL"))
        for name in ONE_KERNEL:
            kernels.impl(name, _never, "CUDA")
        for name in WRITE_IN_PLACE:
            if not torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{name}", "Meta"):
                kernels.impl(name, _nothing, "Meta")
        yield
