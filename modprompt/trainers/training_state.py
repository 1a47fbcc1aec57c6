"""The state of a run between two epochs, in one whole file: models, optimisers, schedules, random numbers.

A killed run resumes from it; it is overwritten after every epoch and removed when the run has its result. The file is
the same with every Dassl.
"""

import hashlib
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from dassl.config import cfg_default

from modprompt.errors import UserError
from modprompt.io.holding import STATE
from modprompt.io.safe_open import Refused
from modprompt.io.schema import Form, anything, whole
from modprompt.io.settings import changes, is_free, with_clips_known
from modprompt.io.tensors import read_tensors, write_tensors
from modprompt.trainers.state_form import HEAD, require_parts

_NumPyState = tuple[str, np.ndarray, int, int, float]
FILE_NAME = STATE
TRAINING_IMAGES = "the training images"  # in the settings of a run: a hash of them
_TO_DO = "delete it to start anew, or put another copy there"
_MOST_EPOCHS = 1 << 20
_HASH = "hash"
CHOSEN_BY = "the images to choose by"  # in the settings of a run that tests its best epoch


def random_states() -> dict[str, Any]:
    """The states of all generators: tensors and plain values."""
    kind, keys, position, has_gauss, gauss = cast(_NumPyState, np.random.get_state())  # a tuple for the old generator
    version, words, gauss_next = random.getstate()
    states: dict[str, Any] = {
        "python": [version, list(words), gauss_next],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
        states["cuda_own"] = torch.cuda.current_device()  # the GPU that the run is on
    return states


def restore_random(states: Mapping[str, Any]) -> None:
    """Restore the generators' states that random_states gave."""
    version, words, gauss_next = states["python"]
    random.setstate((version, tuple(words), gauss_next))
    kind, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(states["torch"].cpu())
    _restore_cards(states.get("cuda", []), states.get("cuda_own", 0))


def _restore_cards(states: Sequence[Any], own: int) -> None:
    """Restore the generators of this machine's GPUs: that of the run's own GPU from the run's, the others by number.

    Args:
        states: of each GPU of the machine that saved them.
        own: the number of the run's GPU there.
    """
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if here != len(states):
        print(f"The training state has the generators of {len(states)} GPUs, {here} are here: the others begin anew")
    if not here:
        return
    mine = torch.cuda.current_device()
    found = {number: state for number, state in enumerate(states) if number < here}
    if own < len(states):
        found[mine] = states[own]
    for number, state in found.items():
        torch.cuda.set_rng_state(state.cpu(), number)


def settings_of(cfg: Any) -> dict[str, str]:
    """What decides the numbers of a training, as {dotted key: text}."""

    def walk(node: Any, prefix: str) -> Iterator[tuple[str, str]]:
        for key, value in node.items():
            name = f"{prefix}{key}"
            if hasattr(value, "items"):
                yield from walk(value, name + ".")
            else:
                yield name, str(list(value) if isinstance(value, (tuple, list)) else value)

    found = with_clips_known(dict(walk(cfg, "")))
    return {name: text for name, text in found.items() if not is_free(name, text)}


def of_trainer(settings: Mapping[str, str], node: str) -> dict[str, str]:
    """The settings that a trainer with the node TRAINER.<node> reads, without other methods'."""
    own = ("TRAINER.NAME", f"TRAINER.{node}.")
    return {key: text for key, text in settings.items() if not key.startswith("TRAINER.") or key.startswith(own)}


def require_same(mine: Mapping[str, str], theirs: Mapping[str, str], folder: str) -> None:
    """Raise UserError, naming what differs, unless a folder's run was made with these settings.

    A setting that one of the two does not have counts as its default there.
    """
    defaults = settings_of(cfg_default)
    keys = {key for side in (mine, theirs) for key, text in side.items() if not is_free(key, text)}
    old, new = ({key: side.get(key, defaults.get(key, "unset")) for key in keys} for side in (theirs, mine))
    changed = changes(old, new)
    if changed:
        raise UserError(
            f"{folder} holds a run with other settings ({'; '.join(changed[:4])}): "
            "use another --output-dir, or delete that folder to start anew"
        )


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
    """Write the state after `epoch` finished epochs; `extras` is what else a trainer must remember."""
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
    write_tensors(os.path.join(directory, FILE_NAME), {**states, _HASH: _hash_of(states)})


def _hash_of(states: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a state's whole content, the same before writing and after reading."""
    digest = hashlib.sha256()

    def feed(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            array = (value.float() if value.dtype == torch.bfloat16 else value).detach().cpu().numpy()
            digest.update(f"{value.dtype}{array.shape}".encode() + array.tobytes())
        elif isinstance(value, Mapping):
            feed([part for pair in value.items() for part in pair])
        elif isinstance(value, (list, tuple)):
            digest.update(f"{len(value)} parts".encode())
            for part in value:
                feed(part)
        elif isinstance(value, (bool, int, float, str, type(None))):  # numpy's float is a float with another repr
            digest.update(repr(float(value) if isinstance(value, float) else value).encode("utf-8", "surrogatepass"))

    feed({key: part for key, part in states.items() if key != _HASH})
    return digest.hexdigest()


def _has_its_hash(states: Mapping[str, Any]) -> bool:
    try:
        return bool(states.get(_HASH) == _hash_of(states))
    except (RuntimeError, TypeError, NotImplementedError):  # for tensors that no run has written
        return False


def exists(directory: str) -> bool:
    """Whether the folder holds a training state."""
    return os.path.exists(os.path.join(directory, FILE_NAME))


def remove(directory: str) -> None:
    """Remove the training state, if there is one."""
    if exists(directory):
        os.remove(os.path.join(directory, FILE_NAME))


def load(
    directory: str,
    settings: Mapping[str, str],
    models: Mapping[str, Any],
    optims: Mapping[str, Any],
    scheds: Mapping[str, Any],
    extras_form: Callable[[int], Form] = lambda epoch: anything,
    most: int | None = None,
) -> tuple[int, float, Mapping[str, Any]]:
    """Restore everything. Nothing is changed before the whole file is checked.

    Args:
        directory: where the file is.
        settings: of this run.
        models: what to restore, by name.
        optims: likewise.
        scheds: likewise.
        extras_form: gives the form of the extras after so many epochs.
        most: epochs of the whole run; None for what its settings say.

    Returns:
        (finished epochs, best validation result so far, extras).

    Raises:
        UserError: if the file is damaged, a part is missing or does not belong to this run, or the run was made with
            other settings, which are named.
    """
    path = os.path.join(directory, FILE_NAME)
    try:
        states = read_tensors(path)
    except UserError as error:
        raise UserError(f"{path} is damaged ({error}): {_TO_DO}") from None
    try:
        HEAD(states, "")
        require_same(settings, states["settings"], directory)
        whole(1, most or _most_epochs(settings))(states["epoch"], "epoch")
        require_parts(states, models, optims, scheds)
        extras_form(states["epoch"])(states["extras"], "extras")
        if not _has_its_hash(states):
            raise Refused("it was changed by hand: its hash does not match")
    except Refused as error:
        raise UserError(f"{path} is damaged or of another run ({error}): {_TO_DO}") from None
    try:
        for part, ours in (("models", models), ("optims", optims), ("scheds", scheds)):
            for name, state in states[part].items():
                ours[name].load_state_dict(state)
        restore_random(states["random"])
    except Exception as error:  # whatever PyTorch raises on what has the right form
        raise UserError(
            f"{path} is damaged or of another run ({' '.join(str(error).split())[:160]}): {_TO_DO}"
        ) from None
    return states["epoch"], float(states["best_result"]), states["extras"]


def _most_epochs(settings: Mapping[str, str]) -> int:
    text = settings.get("OPTIM.MAX_EPOCH", "")
    return int(text) if text.isdecimal() else _MOST_EPOCHS
