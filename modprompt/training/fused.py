"""Optimisers that a loss scaler need not stop for: with one kernel for all, which skips a spoilt step by itself."""

import inspect
from typing import Any

import torch
from torch.optim import Optimizer

KINDS = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)


def fused(optimiser: Optimizer) -> Optimizer:
    """The same optimiser, newly made, as one kernel; as it is where this PyTorch has none for its kind.

    It stays so when a state is loaded, of one that was not.
    """
    names = inspect.signature(type(optimiser)).parameters
    if type(optimiser) not in KINDS or "fused" not in names or not hasattr(optimiser, _HOOK):
        return optimiser
    settings = {name: value for name, value in optimiser.defaults.items() if name in names}
    groups = [{**group, **_FUSED} for group in optimiser.param_groups]
    made: Any = type(optimiser)(groups, **{**settings, **_FUSED})
    getattr(made, _HOOK)(_set)
    return made  # type: ignore[no-any-return]


_FUSED = {"fused": True, "foreach": None}
_HOOK = "register_load_state_dict_post_hook"


def _set(optimiser: Optimizer) -> None:
    for group in optimiser.param_groups:
        group.update(_FUSED)
