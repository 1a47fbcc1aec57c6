"""What the state of a run must hold, by what the run has: all of it is looked at before anything is changed.

Names, shapes and numbers are taken from the run itself. What settings decide must be equal, since a state of other
settings is refused.
"""

import math
import random
from typing import Any, Callable, Dict, Mapping, Sequence

import torch
from torch import Tensor

from modprompt.storage.forms import (
    Form,
    anything,
    each,
    exactly,
    maybe,
    number,
    only,
    refuse,
    row_of,
    rows,
    shown,
    table,
    text,
    whole,
    within,
)
from modprompt.trainers.optimiser_form import optimiser_form
from modprompt.trainers.tensor_forms import equal, like, rate, tensor_like, tensors_like

_DECIDED = ("T_max", "base_lrs", "eta_min", "gamma", "milestones", "step_size")  # of a schedule, by settings
_OF_VERSIONS = ("_get_lr_called_within_step", "_is_initial", "_step_count", "verbose")  # not all PyTorchs have them
_WORDS, _MOST_WORD = 624, 2**32 - 1  # of a Mersenne twister
_FEW = 1 << 20  # epochs and steps of anything, cards


def schedule_form(own: Mapping[str, Any]) -> Form:
    """The state of a schedule whose state is `own` at the start."""
    required: Dict[Any, Form] = {}
    optional: Dict[Any, Form] = {}
    for key, value in own.items():
        if key == "_step_count":
            optional[key] = whole(0)
        elif key in _OF_VERSIONS:
            optional[key] = anything if value is None else like(value)
        elif key == "last_epoch":
            required[key] = whole(0, _FEW)
        elif key == "_last_lr":
            required[key] = rows(rate, len(value))
        elif key == "successor" and isinstance(value, dict):  # in the real Dassl it is an object
            required[key] = schedule_form(value)
        else:
            required[key] = equal(value) if key in _DECIDED else like(value)
    inner = table(required, optional)

    def form(value: Any, where: str) -> None:
        inner(value, where)
        for key in value:
            if key not in own and key not in _OF_VERSIONS:
                refuse(within(where, key), "not known here")

    return form


def scaler_form(own: Mapping[str, Any]) -> Form:
    """The state of a loss scaler whose state is `own` at the start."""

    def form(value: Any, where: str) -> None:
        table({key: number(0) for key in own})(value, where)
        if "scale" in own and not value["scale"]:
            refuse(within(where, "scale"), "0, which loses every gradient")

    return form


_PYTHON = row_of(exactly(3), rows(whole(0, _MOST_WORD), _WORDS + 1), maybe(number()))
_NUMPY = row_of(exactly("MT19937"), anything, whole(0, _WORDS), whole(0, 1), number())


def random_form(value: Any, where: str) -> None:
    """The states of all generators, as training_state.random_states gives them."""
    cards = {"cuda": rows(_bytes), "cuda_own": whole(0, _FEW)}
    table({"python": _PYTHON, "numpy": _NUMPY, "torch": tensor_like(torch.get_rng_state())}, cards)(value, where)
    keys = value["numpy"][1]
    tensor_like(torch.zeros(_WORDS, dtype=torch.int64))(keys, f"{where}.numpy[1]")
    if keys.min() < 0 or keys.max() > _MOST_WORD:
        refuse(f"{where}.numpy[1]", "not made of numbers of 32 bits")
    version, words, gauss = value["python"]
    for name, put in (
        ("python", lambda: random.Random().setstate((version, tuple(words), gauss))),
        ("torch", lambda: torch.Generator().set_state(value["torch"])),
    ):
        _try(put, within(where, name))
    _require_cards(value.get("cuda", []), within(where, "cuda"))


def _bytes(value: Any, where: str) -> None:
    if not isinstance(value, Tensor) or value.dtype != torch.uint8 or value.dim() != 1 or not value.numel():
        refuse(where, f"{shown(value)}, not the state of a card's generator")


def _require_cards(states: Sequence[Tensor], where: str) -> None:
    here = torch.cuda.get_rng_state_all() if states and torch.cuda.is_available() else []
    for at, state in enumerate(states):
        if here and state.shape != here[0].shape:
            refuse(f"{where}[{at}]", f"of shape {tuple(state.shape)}, not {tuple(here[0].shape)}")


def _try(put: Callable[[], object], where: str) -> None:
    try:
        put()
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        refuse(where, f"no state of a generator ({' '.join(str(error).split())[:80]})")


def average_form(epoch: int, trained: Mapping[str, Tensor]) -> Form:
    """An average over so many epochs of parameters by name."""
    total = {name: one.detach().float().cpu() for name, one in trained.items()}
    return table({"epochs": exactly(epoch), "total": tensors_like(total)})


# ---------------------------------------------------------------------- all of it


def _best(value: Any, where: str) -> None:
    """Minus infinity before the first validation."""
    number(infinite=value != math.inf)(value, where)


HEAD = table(  # what says which run it is, and how far it has come
    {"epoch": whole(1, _FEW), "best_result": _best, "settings": each(text()), "extras": each(anything)}
)


def require_parts(
    states: Mapping[str, Any], models: Mapping[str, Any], optims: Mapping[str, Any], scheds: Mapping[str, Any]
) -> None:
    """Look at the parts that every run has.

    Args:
        states: what was read.
        models: of the run that is to go on, by name.
        optims: likewise; None for one that is not trained.
        scheds: likewise.

    Raises:
        Refused: if one is missing, or is none of this run's.
    """
    optims = {name: one for name, one in optims.items() if one is not None}
    scheds = {name: one for name, one in scheds.items() if one is not None}
    table({"random": random_form}, {"idle": each(rows(whole(0, _FEW)))})(states, "")
    idle = states.get("idle", {})  # an earlier version did not say
    forms = {
        "models": {name: tensors_like(one.state_dict()) for name, one in models.items()},
        "optims": {name: optimiser_form(one, idle.get(name)) for name, one in optims.items()},
        "scheds": {name: schedule_form(one.state_dict()) for name, one in scheds.items()},
    }
    for part, ours in forms.items():
        table({part: table(ours)})(states, "")
        only(list(ours))(states[part], part)
