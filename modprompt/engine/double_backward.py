"""Compiled encoders for steps with two backward passes through one graph."""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def compiled(encoder: nn.Module, mode: str) -> Callable[..., Tensor]:
    """An encoder, compiled in a mode of torch.compile, that keeps what a second backward pass needs.

    It has a function of its own, so that no earlier compilation of the encoder is reused.
    """

    def forward(*inputs: Any) -> Tensor:
        output: Tensor = encoder.forward(*inputs)
        return output

    quick = torch.compile(forward, mode=mode)

    def call(*inputs: Any) -> Tensor:
        with _keeping():
            return quick(*inputs)

    return call


def _keeping() -> contextlib.AbstractContextManager[Any]:
    from torch._functorch import config  # late: only compiled encoders need it

    patched: contextlib.AbstractContextManager[Any] = config.patch(donated_buffer=False)
    return patched
