"""What PREC means on a device: the type of CLIP's weights, autocast, and loss scaling."""

import contextlib
from typing import NamedTuple, Optional

import torch

from modprompt.checks import one_of

CHOICES = ("fp16", "fp32", "amp")


class Precision(NamedTuple):
    """How a model runs.

    half_weights: CLIP's weights stay fp16, as `build_model` made them.
    autocast: type of autocast, or None.
    scale_loss: whether the loss is scaled against fp16 underflow.
    note: one line to tell the user, or "".
    """

    half_weights: bool
    autocast: Optional[torch.dtype]
    scale_loss: bool
    note: str

    def context(self, device: torch.device):
        """The autocast context of a step; an empty one without autocast."""
        if self.autocast is None:
            return contextlib.nullcontext()
        if not hasattr(torch, "autocast"):  # torch < 1.10
            return torch.cuda.amp.autocast()
        return torch.autocast(device.type, dtype=self.autocast)


def resolve(prec: str, device: torch.device) -> Precision:
    """The meaning of "fp32", "amp" or "fp16" on a device.

    fp16 runs without loss scaling, as the reference does. On a CPU amp means bfloat16, and fp16, whose products are
    hundreds of times slower there, runs as fp32.

    Raises:
        UserError: on another value.
    """
    one_of("PREC", prec, CHOICES)
    on_cpu = device.type == "cpu"
    if prec == "fp32":
        return Precision(False, None, False, "")
    if prec == "amp":
        if on_cpu:
            return Precision(False, torch.bfloat16, False, "PREC amp on a CPU: the encoders run in bfloat16")
        return Precision(False, torch.float16, True, "")
    if on_cpu:
        return Precision(False, None, False, "PREC fp16 runs as fp32 on a CPU, where half precision is slower")
    return Precision(True, None, False, "")


def grad_scaler():
    """A loss scaler for CUDA, under the name this PyTorch has for it."""
    amp = getattr(torch, "amp", None)
    return amp.GradScaler("cuda") if hasattr(amp, "GradScaler") else torch.cuda.amp.GradScaler()
