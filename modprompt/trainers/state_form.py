"""The form that the state of a run must have: that which the run itself would write. All of it is checked first.

Names, shapes and types are the run's own, and numbers are finite. An optimiser's state has the form that a copy of the
optimiser has after a step, and another copy must be able to continue with it. A wrong value of the right form is only
found by the state's hash.
"""

import copy
import math
import random
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from modprompt.io.schema import (
    Form,
    anything,
    each,
    exactly,
    flag,
    maybe,
    number,
    refuse,
    row_of,
    rows,
    shown,
    table,
    text,
    whole,
    within,
)

_OF_VERSIONS = ("_get_lr_called_within_step", "_is_initial", "_step_count", "verbose")  # not all PyTorchs have them
_EXCHANGED = (torch.float16, torch.bfloat16, torch.float32)  # a run in half precision may resume where there is none
_WORDS, _MOST_WORD = 624, 2**32 - 1  # of a Mersenne Twister
_FEW = 1 << 20  # epochs and steps of anything, GPUs


def like(own: Any, held: bool = False) -> Form:
    """The form of a value like the run's own: a tensor's shape and type, the parts of a table or list.

    Args:
        own: the run's value; nothing is known of None.
        held: by an optimiser or schedule: infinite numbers are accepted, and a number may be a 0-d tensor or not, in
            which versions of PyTorch differ.
    """
    if isinstance(own, Tensor) and (own.dim() or not held):
        return lambda value, where: _tensor(value, own, not held, where)
    if isinstance(own, dict):
        required = {key: like(item, held) for key, item in own.items() if key not in _OF_VERSIONS}
        optional = {key: like(own.get(key), held) for key in _OF_VERSIONS}
        return _just(required, optional)
    if isinstance(own, (list, tuple)):
        return row_of(*(like(item, held) for item in own))
    if isinstance(own, (bool, str)):
        return flag if isinstance(own, bool) else text()
    return lambda value, where: _number(value, own, where)


def _just(required: Mapping[Any, Form], optional: Mapping[Any, Form] | None = None) -> Form:
    """A table with these parts, some of which may be missing, and no others."""
    known, there = {**required, **(optional or {})}, table(required, optional)

    def form(value: Any, where: str) -> None:
        there(value, where)
        for key in value:
            if key not in known:
                refuse(within(where, key), "not known here")

    return form


def _tensor(value: Any, own: Tensor, finite: bool, where: str) -> None:
    """A dense tensor on the CPU of the same shape and type, or another of the exchanged floats, without NaN."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
        refuse(where, f"{shown(value)}, not a dense tensor")
    if value.device.type != "cpu":
        refuse(where, f"on the device {value.device.type}, which has no numbers")
    if value.shape != own.shape:
        refuse(where, f"of shape {tuple(value.shape)}, not {tuple(own.shape)}")
    if value.dtype != own.dtype and not {value.dtype, own.dtype} <= set(_EXCHANGED):
        refuse(where, f"of {value.dtype}, not {own.dtype}")
    if torch.isnan(value).any() or (finite and torch.isinf(value).any()):
        refuse(where, "not made of finite numbers")


def _number(value: Any, own: Any, where: str) -> None:
    """A number, or the 0-d tensor that holds it; a count is whole, and at least 0."""
    if isinstance(value, Tensor) and value.dim() == 0:
        _tensor(value, value, True, where)
        value = value.item()
    if type(own) is int:
        whole(0)(int(value) if isinstance(value, float) and value.is_integer() else value, where)
    elif isinstance(own, (float, Tensor)):
        number(infinite=isinstance(own, float) and math.isinf(own))(value, where)


# ---------------------------------------------------------------------- optimisers


def optimiser_form(optimiser: Optimizer) -> Form:
    """The form of the state of an optimiser with these parameters and settings after some steps.

    A parameter that has had no gradient may have no entry.
    """
    parameters = [one for group in optimiser.param_groups for one in group["params"]]
    behind = _behind_a_step(optimiser)
    groups = row_of(*map(_group, optimiser.state_dict()["param_groups"]))

    def form(value: Any, where: str) -> None:
        table({"state": anything, "param_groups": groups})(value, where)
        place = within(where, "state")
        if not isinstance(value["state"], dict):
            refuse(place, f"{shown(value['state'])}, not a table")
        for key, entry in value["state"].items():
            if type(key) is not int or not 0 <= key < len(parameters):
                refuse(within(place, key), "of no parameter")
            like(behind.get(key, {}), held=True)(entry, within(place, key))
        _try(lambda: _go_on(optimiser, value), where, "none that this optimiser can go on with")

    return form


def _behind_a_step(optimiser: Optimizer) -> dict[int, dict[str, Any]]:
    """What the optimiser holds for each parameter, by number, after a step."""
    trial = copy.deepcopy(optimiser)
    _step_aside(trial)
    return cast(dict[int, dict[str, Any]], trial.state_dict()["state"])


def _group(own: Mapping[str, Any]) -> Form:
    others = {key: maybe(flag if value is None else like(value, held=True)) for key, value in own.items()}
    return table({"params": exactly(list(own["params"])), "lr": like(0.0, held=True)}, others)


def _step_aside(optimiser: Optimizer) -> None:
    """Make a step on zero gradients with a copy."""
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimiser.step()


def _go_on(optimiser: Optimizer, state: Mapping[str, Any]) -> None:
    trial = copy.deepcopy(optimiser)
    trial.load_state_dict(copy.deepcopy(dict(state)))
    _step_aside(trial)


def _try(put: Callable[[], object], where: str, what: str) -> None:
    try:
        put()
    except Exception as error:  # whatever PyTorch raises on a value of another kind
        refuse(where, f"{what} ({' '.join(str(error).split())[:80] or type(error).__name__})")


def scaler_form(own: Mapping[str, Any]) -> Form:
    """The form of the state of a loss scaler whose state at the start is `own`."""

    def form(value: Any, where: str) -> None:
        table({key: number(0) for key in own})(value, where)
        if "scale" in own and not value["scale"]:
            refuse(within(where, "scale"), "0, which loses every gradient")

    return form


def average_form(epoch: int, trained: Mapping[str, Tensor]) -> Form:
    """The form of an average over so many epochs, of parameters by name."""
    total = {name: one.detach().float() for name, one in trained.items()}
    return table({"epochs": exactly(epoch), "total": like(total)})


# ---------------------------------------------------------------------- generators


_PYTHON = row_of(exactly(3), rows(whole(0, _MOST_WORD), _WORDS + 1), maybe(number()))
_NUMPY = row_of(
    exactly("MT19937"), like(torch.zeros(_WORDS, dtype=torch.int64)), whole(0, _WORDS), whole(0, 1), number()
)


def random_form(value: Any, where: str) -> None:
    """Check the states of all generators, as training_state.random_states gives them."""
    here = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    cards = {"cuda": rows(like(here[0]) if here else anything), "cuda_own": whole(0, _FEW)}
    table({"python": _PYTHON, "numpy": _NUMPY, "torch": like(torch.get_rng_state())}, cards)(value, where)
    keys = value["numpy"][1]
    if keys.min() < 0 or keys.max() > _MOST_WORD:
        refuse(f"{where}.numpy[1]", "not made of numbers of 32 bits")
    version, words, gauss = value["python"]
    what = "no state of a generator"
    _try(lambda: random.Random().setstate((version, tuple(words), gauss)), within(where, "python"), what)
    _try(lambda: torch.Generator().set_state(value["torch"]), within(where, "torch"), what)


# ---------------------------------------------------------------------- all of it


def _best(value: Any, where: str) -> None:
    """Minus infinity before the first validation."""
    number(infinite=type(value) is float and value < 0)(value, where)


HEAD = table(  # which run it is, and how far it has come
    {"epoch": whole(1, _FEW), "best_result": _best, "settings": each(text()), "extras": each(anything)}
)


def require_parts(
    states: Mapping[str, Any], models: Mapping[str, Any], optims: Mapping[str, Any], scheds: Mapping[str, Any]
) -> None:
    """Check the parts that every run has.

    Args:
        states: what was read.
        models: of the run to resume, by name.
        optims: likewise; None for one that is not trained.
        scheds: likewise.

    Raises:
        Refused: if one is missing, or does not belong to this run.
    """
    table({"random": random_form})(states, "")
    forms = {
        "models": {name: like(one.state_dict()) for name, one in models.items()},
        "optims": {name: optimiser_form(one) for name, one in optims.items() if one is not None},
        "scheds": {name: like(one.state_dict(), held=True) for name, one in scheds.items() if one is not None},
    }
    for part, ours in forms.items():
        table({part: _just(ours)})(states, "")
