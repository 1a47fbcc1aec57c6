"""Compiled encoders through whose graph a step goes back twice."""

import contextlib
from typing import Any, Callable, ContextManager

import torch
from torch import Tensor, nn


def kept_for_backward(keeps: bool) -> ContextManager[Any]:
    """Within it what is compiled does not give away what a second backward pass needs."""
    config: Any = getattr(getattr(torch, "_functorch", None), "config", None)
    if not keeps or not hasattr(config, "donated_buffer"):
        return contextlib.nullcontext()
    patched: ContextManager[Any] = config.patch(donated_buffer=False)
    return patched


def with_own_code(encoder: nn.Module) -> Callable[..., Tensor]:
    """An encoder's forward under code of its own: what was compiled for others, with other settings, is not taken."""

    def forward(*inputs: Any) -> Tensor:
        output: Tensor = encoder.forward(*inputs)
        return output

    return forward
