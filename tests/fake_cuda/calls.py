"""Calls that the checks must find or let pass, by name, for test_fake_cuda.py: made in a child."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.fake_cuda.device import CUDA, fake_cuda
from tests.fake_cuda.watching import counted, kept_mib

HALF, FLOAT = torch.float16, torch.float32


def _made(*shape: int, dtype: torch.dtype = HALF, device: Any = CUDA) -> Tensor:
    return torch.zeros(*shape, dtype=dtype, device=device)


def _attention(queries: int = 8, dtype: torch.dtype = HALF, key: torch.dtype | None = None, **named: Any) -> Tensor:
    query, keys = _made(2, 4, queries, 64, dtype=dtype), _made(2, 4, 9, 64, dtype=key or dtype)
    return F.scaled_dot_product_attention(query, keys, keys, **named)


def _too_many(sequences: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(sequences, sequences, sequences)


def _mask(dtype: torch.dtype) -> Tensor:
    return _made(8, 9, dtype=dtype)


MISMATCHES: dict[str, Callable[[], Any]] = {
    "mm of two types": lambda: _made(2, 3) @ _made(3, 4, dtype=FLOAT),
    "addmm with another bias": lambda: F.linear(_made(2, 3), _made(4, 3), _made(4, dtype=FLOAT)),
    "baddbmm of two types": lambda: torch.baddbmm(_made(2, 3, 3, dtype=FLOAT), _made(2, 3, 4), _made(2, 4, 3)),
    "convolution of two types": lambda: F.conv2d(_made(1, 3, 8, 8), _made(4, 3, 2, 2, dtype=FLOAT)),
    "normalisation of two types": lambda: F.layer_norm(_made(2, 8), (8,), _made(8, dtype=FLOAT), _made(8, dtype=FLOAT)),
    "attention of two types": lambda: _attention(key=FLOAT),
    "attention with a bias of another type": lambda: _attention(attn_mask=_mask(FLOAT)),
    "product of two devices": lambda: _made(2, 3) @ _made(3, 4, device="cpu"),
    "sum of two devices": lambda: _made(2, 3) + torch.zeros(2, 3, dtype=HALF),
}
WAITS: dict[str, Callable[[], Any]] = {
    "item": lambda: _made(1).item(),
    "truth": lambda: bool(_made(1) == 0),
    "tolist": lambda: _made(3).tolist(),
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
}
ATTENTION: dict[str, Callable[[], Any]] = {
    "half": _attention,
    "half, causal": lambda: _attention(9, is_causal=True),
    "half, causal, with more keys than queries": lambda: _attention(is_causal=True),
    "half, masked": lambda: _attention(attn_mask=_mask(torch.bool)),
    "float": lambda: _attention(dtype=FLOAT),
    "too many sequences": lambda: _too_many(_made(65536, 1, 2, 8)),
}


def tried() -> dict[str, dict[str, Any]]:
    """By group and name what each call came to: its counts, or the name of its error."""
    groups = {"mismatches": MISMATCHES, "waits": WAITS, "no waits": WAITS_FOR_NOTHING, "attention": ATTENTION}
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
        loss, kept = kept_mib(lambda: F.silu(x @ weight).sum(), [weight])
        optimiser = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        return {
            "views": counted(lambda: x.t().view(64, 2, 8).detach().unbind(0)).by_name,
            "forward": counted(lambda: F.silu(x @ weight).sum()).by_name,
            "kept, bytes": round(kept * 2**20),
            "backward": counted(loss.backward).by_name,
            "optimiser": counted(optimiser.step).by_name,
        }
