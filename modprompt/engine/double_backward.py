"""Compiled encoders through whose graph a step goes back twice."""

import contextlib
from typing import Any, Callable, ContextManager, Mapping

import torch
from torch import Tensor, nn


def compiled(encoder: nn.Module, settings: Mapping[str, Any]) -> Callable[..., Tensor]:
    """An encoder, compiled by torch.compile's settings, that gives nothing away which a second backward pass needs.

    It has code of its own: what was compiled of an encoder for others is not taken.
    """

    def forward(*inputs: Any) -> Tensor:
        output: Tensor = encoder.forward(*inputs)
        return output

    quick = torch.compile(forward, **settings)

    def call(*inputs: Any) -> Tensor:
        with _keeping():
            return quick(*inputs)

    return call


def _keeping() -> ContextManager[Any]:
    config: Any = getattr(getattr(torch, "_functorch", None), "config", None)
    if not hasattr(config, "donated_buffer"):
        return contextlib.nullcontext()
    patched: ContextManager[Any] = config.patch(donated_buffer=False)
    return patched
