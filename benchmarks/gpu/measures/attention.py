"""The cost of a new shape for cuDNN's and for flash attention, forward and backward: the reason to choose flash."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.gpu.rows import not_run, told
from benchmarks.gpu.task import Found, Place, Task
from modprompt.programs import one_line

KINDS = {"cuDNN": "CUDNN_ATTENTION", "flash": "FLASH_ATTENTION"}
LENGTHS = range(198, 220, 2)  # of a vision side with changing numbers of prompts


def _seconds(kind: Any, length: int) -> float:
    from torch.nn.attention import sdpa_kernel

    draws = [torch.randn(4, 12, length, 64, device="cuda", dtype=torch.float16) for _ in range(3)]
    q, k, v = (one.requires_grad_() for one in draws)
    torch.cuda.synchronize()
    began = time.perf_counter()
    with sdpa_kernel(kind):
        F.scaled_dot_product_attention(q, k, v).sum().backward()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(task: Task, place: Place) -> Found:
    """Milliseconds of the first call with a new shape beyond those of the second, over several shapes."""
    rows, found = [], {}
    for name, word in KINDS.items():
        figure = f"attention, {name}: a shape for the first time beyond its second"
        try:
            if place.dry_run:
                raise RuntimeError("a dry run has no GPU")
            kind = getattr(torch.nn.attention.SDPBackend, word)
            _seconds(kind, 196)  # loads libraries
            each: dict[str, float] = {str(n): _seconds(kind, n) - _seconds(kind, n) for n in LENGTHS}
        except (AttributeError, ImportError, RuntimeError) as error:  # a PyTorch or a GPU without it
            rows.append(not_run(figure, one_line(error)[:200]))
        else:
            found[name] = each
            rows.append(told(figure, f"{1000 * sum(each.values()) / len(each):.1f} ms", f"{len(each)} shapes"))
    return Found(rows, {"seconds": found})
