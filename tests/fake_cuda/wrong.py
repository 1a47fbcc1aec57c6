"""Calls that the checks must find or let pass, by name, for test_fake_cuda.py: made in a child."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.fake_cuda.counting import counted, kept_mib
from tests.fake_cuda.device import CUDA, fake_cuda

HALF, FLOAT = torch.float16, torch.float32


def _made(*shape: int, dtype: torch.dtype = HALF, device: Any = CUDA) -> Tensor:
    return torch.zeros(*shape, dtype=dtype, device=device)


def _attention(
    dtype: torch.dtype, masked: bool = False, queries: int = 8, causal: bool = False
) -> Callable[[], Tensor]:
    query, key = _made(2, 4, queries, 64, dtype=dtype), _made(2, 4, 9, 64, dtype=dtype)
    mask = _made(queries, 9, dtype=torch.bool) if masked else None
    return lambda: F.scaled_dot_product_attention(query, key, key, attn_mask=mask, is_causal=causal)


MISMATCHES: dict[str, Callable[[], Any]] = {
    "mm of two types": lambda: _made(2, 3) @ _made(3, 4, dtype=FLOAT),
    "addmm with another bias": lambda: F.linear(_made(2, 3), _made(4, 3), _made(4, dtype=FLOAT)),
    "bmm of two types": lambda: torch.bmm(_made(2, 3, 4), _made(2, 4, 3, dtype=FLOAT)),
    "baddbmm of two types": lambda: torch.baddbmm(_made(2, 3, 3, dtype=FLOAT), _made(2, 3, 4), _made(2, 4, 3)),
    "convolution of two types": lambda: F.conv2d(_made(1, 3, 8, 8), _made(4, 3, 2, 2, dtype=FLOAT)),
    "normalisation of two types": lambda: F.layer_norm(_made(2, 8), (8,), _made(8, dtype=FLOAT), _made(8, dtype=FLOAT)),
    "attention of two types": lambda: F.scaled_dot_product_attention(
        _made(2, 4, 8, 64), _made(2, 4, 8, 64, dtype=FLOAT), _made(2, 4, 8, 64)
    ),
    "attention with a bias of another type": lambda: F.scaled_dot_product_attention(
        _made(2, 4, 8, 64), _made(2, 4, 8, 64), _made(2, 4, 8, 64), attn_mask=_made(8, 8, dtype=FLOAT)
    ),
    "product of two devices": lambda: _made(2, 3) @ _made(3, 4, device="cpu"),
    "sum of two devices": lambda: _made(2, 3) + torch.zeros(2, 3, dtype=HALF),
}

WAITS: dict[str, Callable[[], Any]] = {
    "item": lambda: _made(1).item(),
    "truth": lambda: bool(_made(1) == 0),
    "tolist": lambda: _made(3).tolist(),
    "to the CPU": lambda: _made(3).cpu(),
    "to the CPU without blocking": lambda: _made(3).to("cpu", non_blocking=True),
    "to the card": lambda: torch.zeros(3).to(CUDA),
    "into the card": lambda: _made(3).copy_(torch.zeros(3)),
    "equal": lambda: torch.equal(_made(3), _made(3)),
    "rows by numbers on the CPU": lambda: _made(3)[torch.tensor([0, 1])],
    "put by a mask": lambda: _made(3).index_put_((_made(3) == 0,), _made(1)),
}
WAITS_FOR_NOTHING: dict[str, Callable[[], Any]] = {
    "to the card without blocking": lambda: torch.zeros(3).to(CUDA, non_blocking=True),
    "into the card without blocking": lambda: _made(3).copy_(torch.zeros(3), non_blocking=True),
    "on the CPU": lambda: torch.zeros(3).sum().item(),
    "rows by numbers on the card": lambda: _made(3)[_made(3, dtype=torch.int64)],
    "a number among operands": lambda: _made(3) + torch.tensor(2.0),
    "a product of one type": lambda: _made(2, 3) @ _made(3, 4),
}
SIZES_FROM_VALUES: dict[str, Callable[[], Any]] = {
    "nonzero": lambda: _made(3).nonzero(),
    "rows by a mask": lambda: _made(3)[_made(3) == 0],
    "masked_select": lambda: _made(3).masked_select(_made(3) == 0),
}
ATTENTION: dict[str, Callable[[], Any]] = {
    "half": lambda: _attention(HALF)(),
    "half, causal": lambda: _attention(HALF, queries=9, causal=True)(),
    "half, causal, with more keys than queries": lambda: _attention(HALF, causal=True)(),
    "half, masked": lambda: _attention(HALF, masked=True)(),
    "float": lambda: _attention(FLOAT)(),
}


def _half(*shape: int) -> Callable[[], Tensor]:
    def call() -> Tensor:
        some = _made(*shape)
        return F.scaled_dot_product_attention(some, some, some)

    return call


def _with_trained_bias() -> Tensor:
    some, bias = _made(2, 4, 8, 64), _made(8, 8).requires_grad_()
    return F.scaled_dot_product_attention(some, some, some, attn_mask=bias)


def _deterministic() -> Tensor:
    torch.use_deterministic_algorithms(True)
    try:
        return _half(2, 4, 8, 64)()
    finally:
        torch.use_deterministic_algorithms(False)


MORE_ATTENTION: dict[str, Callable[[], Any]] = {
    "half, of one key": _half(2, 4, 1, 64),
    "half, of as many sequences as there may be": _half(65535, 1, 2, 8),
    "half, of too many sequences": _half(65536, 1, 2, 8),
    "half, with a trained bias": _with_trained_bias,
    "half, deterministic": _deterministic,
}


def attention_on(capability: Sequence[int]) -> dict[str, Any]:
    """The kernel of each call of attention on a card, or the name of its error."""
    with fake_cuda((capability[0], capability[1])):
        found = {name: _try(call) for name, call in {**ATTENTION, **MORE_ATTENTION}.items()}
    kernels = {name: one for name, one in found.items() if isinstance(one, str)}
    counts = {name: sorted(one["by_name"]) for name, one in found.items() if name not in kernels}
    return {**kernels, **{name: [one for one in names if "attention" in one] for name, names in counts.items()}}


def tried() -> dict[str, dict[str, Any]]:
    """By group and name what each call came to: its counts, or the name of its error."""
    groups = {
        "mismatches": MISMATCHES,
        "waits": WAITS,
        "waits for nothing": WAITS_FOR_NOTHING,
        "sizes": SIZES_FROM_VALUES,
        "attention": ATTENTION,
    }
    with fake_cuda():
        return {group: {name: _try(call) for name, call in calls.items()} for group, calls in groups.items()}


def _try(call: Callable[[], Any]) -> Any:
    try:
        return counted(call)._asdict()
    except Exception as error:
        return type(error).__name__


def steps() -> dict[str, Any]:
    """Launches of some calls whose number is known, and what one keeps."""
    with fake_cuda():
        weight = torch.nn.Parameter(torch.zeros(64, 64, dtype=HALF, device=CUDA))
        x = _made(16, 64)

        def forward() -> Tensor:
            return F.silu(x @ weight).sum()

        loss, kept = kept_mib(forward, [weight])
        optimiser = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        return {
            "views": counted(lambda: x.t().view(64, 2, 8).detach().unbind(0))._asdict(),
            "forward": counted(forward)._asdict(),
            "kept, bytes": round(kept * 2**20),
            "backward": counted(loss.backward)._asdict(),
            "optimiser": counted(optimiser.step)._asdict(),
            "truths": _truths(x),
        }


def _truths(x: Tensor) -> list[bool]:
    other = x.clone()
    return [
        bool(torch.isfinite(x).all()),
        not bool(torch.isnan(x).any()),
        torch.equal(x, other),
        not bool(torch.stack([(x != other).any(), (other != x).any()]).any()),
        bool((x == other).all()),
    ]
