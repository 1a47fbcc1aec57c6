"""Choices that PyTorch makes by device and that fake tensors hide: the kernel of attention, and foreach optimisers."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import library as torch_library
from torch._subclasses.fake_tensor import FakeTensor
from torch.optim import optimizer

GRID = 65535  # sequences that one call of a kernel can have
ALIGNED = 16  # elements: a row of a bias begins at a multiple of so many
HALF = (torch.float16, torch.bfloat16)
ONE_KERNEL = ("silu_backward", "mish_backward", "native_channel_shuffle")  # on a card; made of others without one
WRITE_IN_PLACE = (  # and PyTorch has no fakes of them
    *("_fused_sgd_", "_fused_sgd_.tensor_lr", "_fused_adam_", "_fused_adamw_"),
    *("_amp_foreach_non_finite_check_and_unscale_", "_amp_update_scale_"),
)
_ORIGINAL: Any = F.scaled_dot_product_attention


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """scaled_dot_product_attention as a card of capability 8.0 runs it: flash's kernel where it can, else the efficient."""
    if query.device.type != "cuda":
        return _ORIGINAL(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    if len({query.dtype, key.dtype, value.dtype}) > 1:
        raise TypeError(f"attention of {query.dtype}, {key.dtype} and {value.dtype}")
    if query.shape[-1] % 8:
        raise NotImplementedError("attention of heads whose width is no multiple of 8")
    learns = torch.is_grad_enabled() and any(one.requires_grad for one in (query, key, value))
    _require_room(query, learns)
    square = query.shape[-2] == key.shape[-2]
    if attn_mask is None and query.dtype in HALF and query.shape[-1] <= 256 and (square or not is_causal):
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        return flash(query, key, value, dropout_p, is_causal, scale=scale)[0]
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    bias = None if attn_mask is None else _bias(attn_mask, query, key)
    return efficient(query, key, value, bias, learns, dropout_p, is_causal, scale=scale)[0]


def _require_room(query: Tensor, learns: bool) -> None:
    """Raise what CUDA says of more sequences than a kernel's grid has, or its backward pass numbers."""
    batch, heads, length, width = query.shape
    padded = batch * heads * -(-length // 128) * 128 * width
    if batch > GRID or (learns and padded >= 2**31):
        raise RuntimeError("CUDA error: invalid configuration argument")


def _bias(mask: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """What memory-efficient attention adds to scores (B, H, queries, keys) for a mask that is True where to look."""
    if mask.dtype == torch.bool:
        mask = torch.where(mask, 0.0, torch.full((), -math.inf, dtype=query.dtype, device=mask.device))
    elif mask.dtype != query.dtype:
        raise TypeError(f"attention of {query.dtype} with a bias of {mask.dtype}")
    keys = mask.shape[-1]
    if keys % ALIGNED:
        mask = F.pad(mask, (0, ALIGNED - keys % ALIGNED))[..., :keys]
    return mask.expand(*query.shape[:2], query.shape[-2], key.shape[-2])


def _nothing(first: Any, *_: Any, **__: Any) -> Any:
    """What an operation does to tensors without values; it gives the one that it writes to, if it gives any."""
    return first if isinstance(first, Tensor) else None


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
