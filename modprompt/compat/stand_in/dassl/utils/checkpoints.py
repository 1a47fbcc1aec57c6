"""Checkpoints: written whole (aside, then renamed), read without running what is in them."""

import os
import warnings

import torch

from modprompt.io import checkpoint_files
from modprompt.io.tensors import read_plain, write_tensors
from modprompt.io.text import write_whole


def _without_module(state_dict):
    return {str(key).removeprefix("module."): value for key, value in state_dict.items()}


def save_checkpoint(state, save_dir, is_best=False, model_name=""):
    """Save a model's state as `save_dir/model.pth.tar-<epoch>` (or `model_name`), named in the file `checkpoint`.

    Args:
        state: a dict with at least `state_dict`, whose names lose DataParallel's prefix, and `epoch`.
        save_dir: the folder; made if missing.
        is_best: also save it as model-best.pth.tar.
        model_name: file name in place of model.pth.tar-<epoch>.
    """
    state = {**state, "state_dict": _without_module(state["state_dict"])}
    name = model_name or f"model.pth.tar-{state['epoch']}"
    fpath = os.path.join(save_dir, name)
    write_tensors(fpath, state)
    print(f"Checkpoint saved to {fpath}")
    write_whole(os.path.join(save_dir, checkpoint_files.POINTER), name + "\n")
    if is_best:
        write_tensors(os.path.join(save_dir, checkpoint_files.BEST), state)


def load_checkpoint(fpath):
    """The content of a checkpoint file, tensors on the CPU unless CUDA is there.

    Raises:
        ValueError: if there is no file, or it is not a whole checkpoint of tensors and plain values.
    """
    return read_plain(fpath, None if torch.cuda.is_available() else "cpu")


def resume_from_checkpoint(fdir, model, optimizer=None, scheduler=None):
    """Load the checkpoint that the file `fdir/checkpoint` names into a model and what trains it.

    Returns:
        The epoch to go on from (that of the checkpoint).

    Raises:
        ValueError: if it is damaged, or of another model.
    """
    path = checkpoint_files.newest_checkpoint(fdir)
    checkpoint = load_checkpoint(path)
    try:
        model.load_state_dict(checkpoint["state_dict"])
        for part, name in ((optimizer, "optimizer"), (scheduler, "scheduler")):
            if part is not None and checkpoint.get(name) is not None:
                part.load_state_dict(checkpoint[name])
        epoch = checkpoint["epoch"]
    except Exception as error:  # PyTorch raises many kinds
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"the checkpoint {path} is damaged or of another model ({said})") from None
    print(f"Loaded {path} (epoch {epoch})")
    return epoch


def load_pretrained_weights(model, weight_path):
    """Load what fits by name and shape from a file of weights; the rest is not used, and a message names it.

    Raises:
        ValueError: if it is not a file of weights.
    """
    checkpoint = load_checkpoint(weight_path)
    given = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(given, dict):
        raise ValueError(f"{weight_path} is not a file of weights: it holds no tensors by name")
    given, own = _without_module(given), model.state_dict()
    fitting = {
        key: value for key, value in given.items() if key in own and own[key].shape == getattr(value, "shape", None)
    }
    if not fitting:
        warnings.warn(f"{weight_path}: nothing in it fits this model by name and shape", stacklevel=2)
        return
    model.load_state_dict(fitting, strict=False)
    print(f"Loaded {len(fitting)} of {len(own)} tensors from {weight_path}")
    left = sorted(set(given) - set(fitting))
    if left:
        print(f"Not used: {', '.join(left[:5])}{' ...' if len(left) > 5 else ''}")
