"""What PREC means on a device: the type of CLIP's weights and of the products with them, and loss scaling."""

import contextlib
import inspect
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from modprompt.checks import one_of
from modprompt.errors import UserError

CHOICES = ("fp16", "fp32", "amp", "bf16")
_FUSED = {"fused": True, "foreach": None}


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
            return Precision(False, torch.bfloat16, False, "PREC amp on a CPU uses bfloat16 for matrix products.")
        return Precision(False, torch.float16, True, "")
    if on_cpu:
        return Precision(False, None, False, "PREC fp16 runs as fp32 on a CPU, where float16 is slower than float32.")
    return Precision(True, None, False, "")


def _require_bfloat16(device: torch.device) -> None:
    """Raise UserError if a GPU does not support bfloat16: before capability 8 PyTorch imitates it, slowly."""
    capability = torch.cuda.get_device_capability(device)
    if capability[0] < 8 and not torch.version.hip:
        raise UserError(
            f"PREC bf16 is not supported by {torch.cuda.get_device_name(device)} (capability "
            f"{capability[0]}.{capability[1]}). Use PREC amp or fp32."
        )


def set_products() -> None:
    """Let this process compute float32 products exactly, without TF32, and attention without cuDNN's kernels.

    Where cuDNN's are preferred, they spend a large part of a second on a plan for each shape in each process, and
    prompts have many lengths.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.enable_cudnn_sdp(False)


def grad_scaler() -> torch.amp.GradScaler:
    """A loss scaler for CUDA."""
    return torch.amp.GradScaler("cuda")


def step(loss: Tensor, optimiser: Optimizer, scaler: Any = None, alone: bool = False) -> None:
    """A step of an optimiser on a loss; nothing in it waits for a device.

    Args:
        loss: a scalar.
        optimiser: of the parameters.
        scaler: for the loss, against gradients that vanish in half precision; None for none.
        alone: whether only the optimiser's parameters get gradients: where another optimiser has the other leaves,
            theirs are not worth computing.
    """
    inputs = [one for group in optimiser.param_groups for one in group["params"]] if alone else None
    optimiser.zero_grad()
    if scaler is None:
        loss.backward(inputs=inputs)
        optimiser.step()
    else:
        scaler.scale(loss).backward(inputs=inputs)
        scaler.step(optimiser)
        scaler.update()


def fused(optimiser: Optimizer) -> Optimizer:
    """The optimiser as one kernel, which skips a spoilt step by itself, so that no loss scaler waits for it.

    Unchanged where PyTorch has none for its kind and settings. Momentum starts as zeros: if the first step overflows,
    PyTorch would otherwise continue from memory that was never written. Without dampening, steps are the same.
    """
    kinds = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
    if type(optimiser) not in kinds or any(group.get("dampening") for group in optimiser.param_groups):
        return optimiser
    names = inspect.signature(type(optimiser)).parameters
    settings = {name: value for name, value in optimiser.defaults.items() if name in names}
    made: Any = type(optimiser)([{**group, **_FUSED} for group in optimiser.param_groups], **{**settings, **_FUSED})
    for group in made.param_groups:
        for parameter in group["params"] if group.get("momentum") else ():
            made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return made  # type: ignore[no-any-return]


def autocast_type(device: torch.device) -> torch.dtype | None:
    """The type that torch.autocast, where it is on, gives to products on a device; None where it is off."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def no_autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Within it products on a device keep the type of their factors."""
    return torch.autocast(device.type, enabled=False) if autocast_type(device) else contextlib.nullcontext()


def require_finite(logits: Tensor) -> None:
    """Raise FloatingPointError if logits are not finite: they predict nothing. This waits for their values."""
    if not torch.isfinite(logits).all():
        raise FloatingPointError(
            "The logits are not finite, because the checkpoint or the CLIP weights are damaged. Use another copy of "
            "these files."
        )
