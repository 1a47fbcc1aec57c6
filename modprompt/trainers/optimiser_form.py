"""What the state of an optimiser must hold, by an optimiser of the run; a step is tried on copies of it."""

import copy
from typing import Any, Collection, Dict, List, Mapping, Optional, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from modprompt.storage.forms import (
    Form,
    anything,
    each,
    exactly,
    flag,
    maybe,
    number,
    refuse,
    row_of,
    shown,
    table,
    within,
)
from modprompt.storage.opening import Refused
from modprompt.trainers.tensor_forms import equal, is_scalar, rate, tensor_like

_HOW_RUN = ("capturable", "differentiable", "foreach", "fused")  # in other places others


def optimiser_form(optimiser: Optimizer, idle: Optional[Collection[int]] = None) -> Form:
    """The state of an optimiser of these parameters and settings that has made steps.

    Args:
        optimiser: of the run, before its first step or behind others.
        idle: numbers of parameters for which it need not hold anything, having had no gradient; None for all.
    """
    own = optimiser.state_dict()
    parameters = [one for group in optimiser.param_groups for one in group["params"]]
    behind = _behind_a_step(optimiser)
    groups = row_of(*map(_group_form, own["param_groups"]))

    def form(value: Any, where: str) -> None:
        table({"state": anything, "param_groups": groups})(value, where)
        place = within(where, "state")
        if not isinstance(value["state"], dict):
            refuse(place, f"{shown(value['state'])}, not a table")
        for key, entry in value["state"].items():
            if type(key) is not int or not 0 <= key < len(parameters):
                refuse(within(place, key), "of no parameter")
            _entry_form(behind.get(key), parameters[key])(entry, within(place, key))
        for key, entry in behind.items():
            may_lack = idle is None or key in idle or not any(isinstance(one, Tensor) for one in entry.values())
            if key not in value["state"] and not may_lack:
                refuse(within(place, key), "missing")
        _require_usable(optimiser, value, where)

    return form


def without_state(state: Mapping[str, Any]) -> List[int]:
    """The numbers of the parameters for which an optimiser's state holds nothing."""
    there = [key for group in state["param_groups"] for key in group["params"]]
    return [key for key in there if key not in state["state"]]


def _is_known(optimiser: Optimizer) -> bool:
    return type(optimiser).__module__.startswith("torch.optim")


def _step_aside(optimiser: Optimizer) -> None:
    """A step on zero gradients, of a copy."""
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimiser.step()


def _behind_a_step(optimiser: Optimizer) -> Dict[int, Dict[str, Any]]:
    """What the optimiser holds for each parameter, by number, behind a step; nothing if it is none of PyTorch's."""
    if not _is_known(optimiser):
        return {}
    trial = copy.deepcopy(optimiser)
    _step_aside(trial)
    return cast(Dict[int, Dict[str, Any]], trial.state_dict()["state"])


def _group_form(own: Mapping[str, Any]) -> Form:
    required = {"params": exactly(list(own["params"])), "lr": rate}
    decided = {key: equal(value) for key, value in own.items() if key not in required}
    return table(required, {**decided, **dict.fromkeys(_HOW_RUN, maybe(flag))})


def _entry_form(behind: Optional[Mapping[str, Any]], parameter: Tensor) -> Form:
    """What an optimiser holds for a parameter; `behind` is what it holds behind a step, None if that is not known."""
    if behind is None:
        return each(lambda value, where: _held(value, parameter)(value, where))
    known = {key: _held(item, parameter) for key, item in behind.items()}

    def form(value: Any, where: str) -> None:
        table(known)(value, where)
        for key, item in value.items():
            if key not in known and item is not None:
                refuse(within(where, key), "not known here")

    return form


def _held(example: Any, parameter: Tensor) -> Form:
    if isinstance(example, Tensor) and (example.dim() or not parameter.dim()):
        return tensor_like(example if example.shape != parameter.shape else parameter, finite=False)
    return _scalar if isinstance(example, (int, float, Tensor)) else exactly(None)


def _scalar(value: Any, where: str) -> None:
    """A number, of steps for example, or the 0-d tensor that holds it: versions of PyTorch differ."""
    number()(value.item() if is_scalar(value) else value, where)


def _require_usable(optimiser: Optimizer, value: Mapping[str, Any], where: str) -> None:
    """Raise Refused if a copy of the optimiser cannot make a step with this state."""
    if not _is_known(optimiser):
        return
    trial = copy.deepcopy(optimiser)
    try:
        trial.load_state_dict(copy.deepcopy(dict(value)))
        for own, loaded in zip(optimiser.param_groups, trial.param_groups):
            only_known = table(dict.fromkeys(own, anything))
            only_known(loaded, within(where, "param_groups"))
        _step_aside(trial)
    except Refused:
        raise
    except Exception as error:  # whatever PyTorch raises on a value of another kind
        said = " ".join(str(error).split())[:80]
        refuse(where, f"none that this optimiser can go on with ({said or type(error).__name__})")
