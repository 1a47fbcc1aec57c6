"""Optimisers that a loss scaler need not stop for: with one kernel for all, which skips a spoilt step by itself."""

import inspect
from typing import Any

import torch
from torch.optim import Optimizer

KINDS = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)


def fused(optimiser: Optimizer) -> Optimizer:
    """The optimiser, made again as one kernel; unchanged where PyTorch has none for its kind and settings.

    Momentum starts as zeros: if the first step overflows, PyTorch would otherwise continue from memory that was never
    written. Steps are the same, since without dampening the first momentum is the gradient either way. It stays one
    kernel when the state of an unfused optimiser is loaded.
    """
    if type(optimiser) not in KINDS or any(group.get("dampening") for group in optimiser.param_groups):
        return optimiser
    names = inspect.signature(type(optimiser)).parameters
    settings = {name: value for name, value in optimiser.defaults.items() if name in names}
    groups = [{**group, **_FUSED} for group in optimiser.param_groups]
    made: Any = type(optimiser)(groups, **{**settings, **_FUSED})
    made.register_load_state_dict_post_hook(_set)
    for group in made.param_groups:
        for parameter in group["params"] if group.get("momentum") else ():
            made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return made  # type: ignore[no-any-return]


_FUSED = {"fused": True, "foreach": None}


def _set(optimiser: Optimizer) -> None:
    for group in optimiser.param_groups:
        group.update(_FUSED)
        for parameter in group["params"]:
            kept = optimiser.state.get(parameter, {})
            if "step" in kept:  # an unfused one counts it on the CPU
                kept["step"] = kept["step"].to(parameter.device, torch.float32)
