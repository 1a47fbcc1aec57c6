"""Choices that PyTorch makes by device and that fake tensors hide: the kernel of attention, and foreach optimisers."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
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
_aten = torch.ops.aten


class Asked(NamedTuple):
    """What attention is asked for, as scaled_dot_product_attention has it."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    dropout: float
    causal: bool
    scale: float | None

    @property
    def needs_gradients(self) -> bool:
        """Whether a backward pass will ask for gradients."""
        return torch.is_grad_enabled() and any(one.requires_grad for one in (self.query, self.key, self.value))


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
    """scaled_dot_product_attention as a card runs it: by the first kernel, in PyTorch's order, that can take it."""
    if query.device.type != "cuda":
        return _ORIGINAL(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    if len({query.dtype, key.dtype, value.dtype}) > 1:
        raise TypeError(f"attention of {query.dtype}, {key.dtype} and {value.dtype}")
    if query.shape[-1] % 8:
        raise NotImplementedError("attention of heads whose width is no multiple of 8")
    asked = Asked(query, key, value, attn_mask, dropout_p, is_causal, scale)
    capability = torch.cuda.get_device_capability()
    for kind in order(capability):
        takes, run = _KERNELS[kind]
        if getattr(torch._C, f"_get_{kind}_sdp_enabled")() and takes(asked, capability):
            return run(asked)
    raise RuntimeError("No available kernel. Aborting execution.")


def order(capability: tuple[int, int], version: str = torch.__version__) -> tuple[str, ...]:
    """In which order a PyTorch asks its kernels: cuDNN's first on cards of 9.0 and 10.x from 2.11 on, else last."""
    others = ("flash", "mem_efficient", "math")
    major, minor = (int(part) for part in version.split(".")[:2])
    first = (major, minor) >= (2, 11) and (capability == (9, 0) or capability[0] == 10)
    return ("cudnn", *others) if first else (*others, "cudnn")


def _cudnn_takes(asked: Asked, capability: tuple[int, int]) -> bool:
    if asked.query.dtype not in HALF or capability < (8, 0) or torch.are_deterministic_algorithms_enabled():
        return False
    biased = asked.mask is not None and asked.mask.requires_grad
    return not biased and asked.query.shape[-1] <= 128 and asked.key.shape[-2] > 1 and len(asked.query) <= GRID


def _flash_takes(asked: Asked, capability: tuple[int, int]) -> bool:
    square = asked.query.shape[-2] == asked.key.shape[-2]
    fits = capability >= (8, 0) and asked.query.dtype in HALF and asked.query.shape[-1] <= 256
    return fits and asked.mask is None and (square or not asked.causal)


def _efficient_takes(asked: Asked, capability: tuple[int, int]) -> bool:
    return asked.query.dtype != torch.bfloat16 or capability >= (8, 0)


def _run_cudnn(asked: Asked) -> Tensor:
    bias = asked.mask if asked.mask is None or asked.mask.dtype != torch.bool else _added(asked.mask, asked.query)
    kernel = _aten._scaled_dot_product_cudnn_attention
    query, key, value, _, dropout, causal, scale = asked
    out: Tensor = kernel(query, key, value, bias, asked.needs_gradients, dropout, causal, scale=scale)[0]
    return out


def _run_flash(asked: Asked) -> Tensor:
    _require_room(asked)
    query, key, value, _, dropout, causal, scale = asked
    out: Tensor = _aten._scaled_dot_product_flash_attention(query, key, value, dropout, causal, scale=scale)[0]
    return out


def _run_efficient(asked: Asked) -> Tensor:
    _require_room(asked)
    query, key, value, mask, dropout, causal, scale = asked
    bias = None if mask is None else _bias(mask, query, key)
    kernel = _aten._scaled_dot_product_efficient_attention
    out: Tensor = kernel(query, key, value, bias, asked.needs_gradients, dropout, causal, scale=scale)[0]
    return out


def _run_math(asked: Asked) -> Tensor:
    query, key, value, mask, dropout, causal, scale = asked
    out: Tensor = _aten._scaled_dot_product_attention_math(query, key, value, mask, dropout, causal, None, scale=scale)[
        0
    ]
    return out


_KERNELS: dict[str, tuple[Callable[[Asked, tuple[int, int]], bool], Callable[[Asked], Tensor]]] = {
    "cudnn": (_cudnn_takes, _run_cudnn),
    "flash": (_flash_takes, _run_flash),
    "mem_efficient": (_efficient_takes, _run_efficient),
    "math": (lambda *_: True, _run_math),
}


def _require_room(asked: Asked) -> None:
    """Raise what CUDA says of more sequences than a kernel's grid has, or its backward pass numbers."""
    batch, heads, length, width = asked.query.shape
    padded = batch * heads * -(-length // 128) * 128 * width
    if batch > GRID or (asked.needs_gradients and padded >= 2**31):
        raise RuntimeError("CUDA error: invalid configuration argument")


def _added(mask: Tensor, query: Tensor) -> Tensor:
    never = torch.full((), -math.inf, dtype=query.dtype, device=mask.device)
    return torch.where(mask, 0.0, never)


def _bias(mask: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """What memory-efficient attention adds to scores (B, H, queries, keys) for a mask that is True where to look."""
    if mask.dtype == torch.bool:
        mask = _added(mask, query)
    elif mask.dtype != query.dtype:
        raise TypeError(f"attention of {query.dtype} with a bias of {mask.dtype}")
    keys = mask.shape[-1]
    if keys % ALIGNED:
        mask = F.pad(mask, (0, ALIGNED - keys % ALIGNED))[..., :keys]
    return mask.expand(*query.shape[:2], query.shape[-2], key.shape[-2])


_ORIGINAL: Any = F.scaled_dot_product_attention


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
