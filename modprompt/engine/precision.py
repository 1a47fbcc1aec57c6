"""What PREC means on a device: the type of CLIP's weights and of the products with them, and loss scaling."""

import contextlib
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modprompt.checks import one_of
from modprompt.errors import UserError

CHOICES = ("fp16", "fp32", "amp", "bf16")


class Precision(NamedTuple):
    """How a model runs.

    half_weights: CLIP's weights stay fp16, as `build_model` made them, and so does all that is computed.
    products: type that CLIP's matrices are cast to, with a float32 learner and float32 sums; None keeps float32.
    scale_loss: whether the loss is scaled against fp16 underflow.
    note: a sentence to tell the user, or "".
    """

    half_weights: bool
    products: torch.dtype | None
    scale_loss: bool
    note: str

    @property
    def stream(self) -> torch.dtype | None:
        """Type of the tokens between products; None for that of the weights."""
        return None if self.products is None else torch.float32


def resolve(prec: str, device: torch.device) -> Precision:
    """The meaning of "fp32", "amp", "bf16" or "fp16" on a device.

    fp16 runs without loss scaling, as the reference does. amp and bf16 keep the learner, normalisations and sums in
    float32 and multiply in half precision: CLIP's matrices are cast once, since they are not trained. amp means fp16
    with a scaled loss on CUDA and bfloat16 on a CPU; bf16 means bfloat16. On a CPU fp16, whose products are hundreds of
    times slower there, runs as fp32.

    Raises:
        UserError: on another value; for bf16 on a GPU that does not support it.
    """
    one_of("PREC", prec, CHOICES)
    on_cpu = device.type == "cpu"
    if prec == "fp32":
        return Precision(False, None, False, "")
    if prec == "bf16":
        if device.type == "cuda" and torch.cuda.is_available():
            _require_bfloat16(device)
        return Precision(False, torch.bfloat16, False, "")
    if prec == "amp":
        if on_cpu:
            return Precision(False, torch.bfloat16, False, "PREC amp on a CPU: the products run in bfloat16")
        return Precision(False, torch.float16, True, "")
    if on_cpu:
        return Precision(False, None, False, "PREC fp16 runs as fp32 on a CPU, where half precision is slower")
    return Precision(True, None, False, "")


def _require_bfloat16(device: torch.device) -> None:
    """Raise UserError if a GPU does not support bfloat16: before capability 8 PyTorch imitates it, slowly."""
    capability = torch.cuda.get_device_capability(device)
    if capability[0] < 8 and not torch.version.hip:
        raise UserError(
            f"PREC bf16: {torch.cuda.get_device_name(device)} (capability {capability[0]}.{capability[1]}) does not "
            "support bfloat16: use PREC amp or fp32"
        )


def grad_scaler() -> "torch.amp.GradScaler":
    """A loss scaler for CUDA."""
    return torch.amp.GradScaler("cuda")


def autocast_type(device: torch.device) -> torch.dtype | None:
    """The type that torch.autocast, where it is on, gives to products on a device; None where it is off."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def no_autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Within it products on a device keep the type of their factors."""
    if autocast_type(device) is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


def require_finite(logits: Tensor) -> None:
    """Raise FloatingPointError if logits are not finite: they predict nothing. This waits for their values."""
    if not torch.isfinite(logits).all():
        raise FloatingPointError("the logits are not finite: the checkpoint or the CLIP weights are damaged")
