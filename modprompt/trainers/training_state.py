"""The training state: models, optimisers, schedules and random number generators after an epoch, in one file.

A killed run is resumed from this file. The file is overwritten after every epoch and removed after the final test.
"""

import contextlib
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch

from modprompt.errors import UserError
from modprompt.io.files import Refused
from modprompt.io.folder import STATE
from modprompt.io.tensors import read_tensors, write_tensors
from modprompt.programs import one_line
from modprompt.trainers.run_facts import require_same

_NumPyState = tuple[str, np.ndarray, int, int, float]
FILE_NAME = STATE
_TO_DO = "Delete the file to start again, or replace the file with an intact copy."


def random_states() -> dict[str, Any]:
    """Return the states of all random number generators as tensors and plain values."""
    kind, keys, position, has_gauss, gauss = cast(
        _NumPyState, np.random.get_state()
    )  # the legacy generator has a tuple
    version, words, gauss_next = random.getstate()
    states: dict[str, Any] = {
        "python": [version, list(words), gauss_next],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
        states["cuda_own"] = torch.cuda.current_device()  # the GPU of the run
    return states


def restore_random(states: Mapping[str, Any]) -> None:
    """Restore the states of the random number generators that `random_states` returned."""
    version, words, gauss_next = states["python"]
    random.setstate((version, tuple(words), gauss_next))
    kind, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(states["torch"].cpu())
    _restore_cards(states.get("cuda", []), states.get("cuda_own", 0))


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Restore the states of all random number generators after the block, whatever the block draws."""
    states = random_states()
    try:
        yield
    finally:
        restore_random(states)


def _restore_cards(states: Sequence[Any], own: int) -> None:
    """Restore the random number generators of all GPUs, even if the run now uses another GPU than before.

    Args:
        states: the states of all GPUs of the machine that stored them.
        own: the number of the stored run's GPU.
    """
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if here != len(states):
        print(
            f"note: the training state contains the states of the random generators of {_gpus(len(states))}, but this "
            f"machine has {_gpus(here)}. The generator of a GPU without a stored state starts from the seed."
        )
    if not here:
        return
    mine = torch.cuda.current_device()
    found = {number: state for number, state in enumerate(states) if number < here}
    if own < len(states):
        found[mine] = states[own]
    for number, state in found.items():
        torch.cuda.set_rng_state(state.cpu(), number)


def _gpus(number: int) -> str:
    """Format a number of GPUs: "1 GPU", "2 GPUs"."""
    return f"{number} GPU{'' if number == 1 else 's'}"


def save(
    directory: str,
    settings: Mapping[str, str],
    epoch: int,
    models: Mapping[str, Any],
    optims: Mapping[str, Any],
    scheds: Mapping[str, Any],
    best_result: float,
    extras: Mapping[str, Any] | None = None,
) -> None:
    """Write the training state.

    Args:
        directory: the output folder.
        settings: the facts of the run, see `facts_of_run`.
        epoch: the number of finished epochs.
        models: the modules to store, by name.
        optims: the optimisers by name, or None for modules without one.
        scheds: the learning-rate schedules by name, or None for modules without one.
        best_result: the best validation result so far.
        extras: further values of the trainer.
    """
    states = {
        "epoch": epoch,
        "settings": dict(settings),
        "best_result": float(best_result),
        "models": {name: model.state_dict() for name, model in models.items()},
        "optims": {name: optim.state_dict() for name, optim in optims.items() if optim is not None},
        "scheds": {name: sched.state_dict() for name, sched in scheds.items() if sched is not None},
        "random": random_states(),
        "extras": extras or {},
    }
    write_tensors(os.path.join(directory, FILE_NAME), states)


def exists(directory: str) -> bool:
    """Return True if a folder contains a training state."""
    return os.path.exists(os.path.join(directory, FILE_NAME))


def remove(directory: str) -> None:
    """Remove the training state, if there is one."""
    if exists(directory):
        os.remove(os.path.join(directory, FILE_NAME))


@contextlib.contextmanager
def damage_told(directory: str) -> Iterator[None]:
    """Convert errors within a block that uses a training state to a UserError that names the file."""
    try:
        yield
    except UserError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        path = os.path.join(directory, FILE_NAME)
        raise UserError(f"{path} is damaged or belongs to another run ({one_line(error)[:160]}). {_TO_DO}") from None


def load(
    directory: str,
    settings: Mapping[str, str],
    models: Mapping[str, Any],
    optims: Mapping[str, Any],
    scheds: Mapping[str, Any],
) -> tuple[int, float, Mapping[str, Any]]:
    """Restore a training state. If the file is damaged or belongs to another run, nothing is changed.

    Args:
        directory: the folder with the training state.
        settings: the facts of this run, see `facts_of_run`.
        models: the modules to restore, by name.
        optims: the optimisers to restore, by name.
        scheds: the learning-rate schedules to restore, by name.

    Returns:
        The number of finished epochs, the best validation result so far, and the further values of the trainer.

    Raises:
        UserError: if the file is damaged or incomplete, or belongs to a run with other facts, which are named.
    """
    path = os.path.join(directory, FILE_NAME)
    try:
        states = read_tensors(path)
    except UserError as error:
        raise UserError(f"{error} {_TO_DO}") from None
    with damage_told(directory):
        require_same(settings, states["settings"], directory)
        learned = [tensor for state in states["models"].values() for tensor in state.values()]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in learned):
            raise Refused("the trained parameters are not finite")
        for part, ours in (("models", models), ("optims", optims), ("scheds", scheds)):
            for name, one in ours.items():
                if one is not None:
                    one.load_state_dict(states[part][name])
        restore_random(states["random"])
        return states["epoch"], float(states["best_result"]), states["extras"]
