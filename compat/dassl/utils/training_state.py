"""The state of a run between two epochs, in one whole file: models, optimisers, schedules, random numbers.

It is what a killed run goes on from; it is written over after every epoch and removed when the run has its result.
"""

import os
import random

import numpy as np
import torch
from dassl.utils.checkpoints import load_checkpoint, save_whole

FILE_NAME = "training_state.pth.tar"


def _random_states():
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, words, gauss_next = random.getstate()
    states = {
        "python": [version, list(words), gauss_next],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _restore_random(states):
    version, words, gauss_next = states["python"]
    random.setstate((version, tuple(words), gauss_next))
    kind, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(states["torch"].cpu())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])


def _settings(cfg):
    """What decides the numbers of a run, as {dotted key: text}; where it reads and writes is left out."""
    ignored = {
        "OUTPUT_DIR",
        "RESUME",
        "DATASET.ROOT",
        "VERBOSE",
        "TRAIN.PRINT_FREQ",
        "TRAIN.CHECKPOINT_FREQ",
        "MODEL.BACKBONE.PATH",
    }

    def walk(node, prefix):
        for key, value in node.items():
            name = f"{prefix}{key}"
            if hasattr(value, "items"):
                yield from walk(value, name + ".")
            elif name not in ignored:
                yield name, str(list(value) if isinstance(value, (tuple, list)) else value)

    return dict(walk(cfg, ""))


def save(directory, cfg, epoch, models, optims, scheds, best_result):
    """Write the state after `epoch` finished epochs."""
    states = {
        "epoch": epoch,
        "settings": _settings(cfg),
        "best_result": float(best_result),
        "models": {name: model.state_dict() for name, model in models.items()},
        "optims": {name: optim.state_dict() for name, optim in optims.items() if optim is not None},
        "scheds": {name: sched.state_dict() for name, sched in scheds.items() if sched is not None},
        "random": _random_states(),
    }
    save_whole(states, os.path.join(directory, FILE_NAME))


def exists(directory):
    """Whether the folder holds a training state."""
    return os.path.exists(os.path.join(directory, FILE_NAME))


def remove(directory):
    """Remove the training state, if there is one."""
    if exists(directory):
        os.remove(os.path.join(directory, FILE_NAME))


def load(directory, cfg, models, optims, scheds):
    """Put everything back as it was.

    Returns:
        (finished epochs, best validation result so far).

    Raises:
        ValueError: if the file is damaged, or the run was made with other settings; they are named.
    """
    path = os.path.join(directory, FILE_NAME)
    states = load_checkpoint(path)
    mine, theirs = _settings(cfg), states["settings"]
    changed = [
        f"{key} {theirs.get(key)} -> {mine.get(key)}"
        for key in sorted(set(mine) | set(theirs))
        if mine.get(key) != theirs.get(key)
    ]
    if changed:
        raise ValueError(
            f"{path} belongs to a run with other settings ({'; '.join(changed[:4])}): use another --output-dir, "
            "or delete that file to start anew"
        )
    for name, state in states["models"].items():
        models[name].load_state_dict(state)
    for name, state in states["optims"].items():
        optims[name].load_state_dict(state)
    for name, state in states["scheds"].items():
        scheds[name].load_state_dict(state)
    _restore_random(states["random"])
    return states["epoch"], states["best_result"]
