"""Checkpoints: written whole (aside, then renamed), read without running what is in them."""

import os
import warnings

import torch

from modprompt.errors import UserError
from modprompt.io.files import read_text, write_whole
from modprompt.io.tensors import read_plain, write_tensors


def _without_module(state_dict):
    return {key[7:] if str(key).startswith("module.") else str(key): value for key, value in state_dict.items()}


def save_checkpoint(state, save_dir, is_best=False, remove_module_from_keys=True, model_name=""):
    """Save a model's state as `save_dir/model.pth.tar-<epoch>` (or `model_name`), named in the file `checkpoint`.

    Args:
        state: a dict with at least `state_dict` and `epoch`.
        save_dir: the folder; made if missing.
        is_best: also save it as model-best.pth.tar.
        remove_module_from_keys: remove DataParallel's prefix from the names.
        model_name: file name in place of model.pth.tar-<epoch>.
    """
    if remove_module_from_keys:
        state = {**state, "state_dict": _without_module(state["state_dict"])}
    name = model_name or f"model.pth.tar-{state['epoch']}"
    fpath = os.path.join(save_dir, name)
    write_tensors(fpath, state)
    print(f"Checkpoint saved to {fpath}")
    pointer = os.path.join(save_dir, "checkpoint")
    write_whole(pointer, name + "\n")
    if is_best:
        write_tensors(os.path.join(save_dir, "model-best.pth.tar"), state)


def load_checkpoint(fpath):
    """The content of a checkpoint file, tensors on the CPU unless CUDA is there.

    Raises:
        ValueError: if no path is given, or the file is not a whole checkpoint of tensors and plain values.
        FileNotFoundError: if there is no file.
    """
    if fpath is None:
        raise ValueError("load_checkpoint: no file given")
    if not os.path.exists(fpath):
        raise FileNotFoundError(f"no checkpoint at {fpath}")
    return read_plain(fpath, None if torch.cuda.is_available() else "cpu")


def newest_checkpoint(fdir):
    """The content of the checkpoint that the file `fdir/checkpoint` names.

    Raises:
        ValueError: if either is damaged.
    """
    pointer = os.path.join(fdir, "checkpoint")
    try:
        name = read_text(pointer).split("\n")[0].strip()
    except (OSError, UserError):
        name = ""
    if not name or name != os.path.basename(name) or not os.path.isfile(os.path.join(fdir, name)):
        raise ValueError(
            f"{pointer} does not contain the name of a checkpoint in its folder. Delete {fdir} to start again."
        )
    content = load_checkpoint(os.path.join(fdir, name))
    if not isinstance(content, dict) or not {"state_dict", "epoch"} <= set(content):
        raise ValueError(f"{os.path.join(fdir, name)} is not a checkpoint of a model.")
    return content


def resume_from_checkpoint(fdir, model, optimizer=None, scheduler=None):
    """Load the checkpoint that the file `fdir/checkpoint` names into a model and what trains it.

    Returns:
        The epoch to go on from (that of the checkpoint).

    Raises:
        ValueError: if it is damaged, or of another model.
    """
    checkpoint = newest_checkpoint(fdir)
    try:
        model.load_state_dict(checkpoint["state_dict"])
        for part, name in ((optimizer, "optimizer"), (scheduler, "scheduler")):
            if part is not None and checkpoint.get(name) is not None:
                part.load_state_dict(checkpoint[name])
    except Exception as error:  # PyTorch raises many kinds
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"The checkpoint in {fdir} is damaged or belongs to another model ({said}).") from None
    print(f"Loaded the checkpoint of epoch {checkpoint['epoch']} in {fdir}")
    return checkpoint["epoch"]


def load_pretrained_weights(model, weight_path):
    """Load what fits by name and shape from a file of weights; the rest is not used, and a message names it.

    Raises:
        ValueError: if it is not a file of weights.
    """
    checkpoint = load_checkpoint(weight_path)
    given = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(given, dict):
        raise ValueError(f"{weight_path} contains no named tensors, so the file is not a state dict.")
    given, own = _without_module(given), model.state_dict()
    fitting = {
        key: value for key, value in given.items() if key in own and own[key].shape == getattr(value, "shape", None)
    }
    if not fitting:
        warnings.warn(
            f"No tensor in {weight_path} has the name and the shape of a parameter of this model.", stacklevel=2
        )
        return
    model.load_state_dict(fitting, strict=False)
    print(f"Loaded {len(fitting)} of {len(own)} tensors from {weight_path}")
    left = sorted(set(given) - set(fitting))
    if left:
        print(f"Tensors in the file that are not used: {', '.join(left[:5])}{' ...' if len(left) > 5 else ''}")


def count_num_param(model=None, params=None):
    """Number of parameters of a model, or of an iterable of parameters or {'params': ...} groups.

    Raises:
        ValueError: if neither is given.
    """
    if model is not None:
        return sum(p.numel() for p in model.parameters())
    if params is None:
        raise ValueError("count_num_param needs a model or a list of parameters.")
    return sum(sum(q.numel() for q in p["params"]) if isinstance(p, dict) else p.numel() for p in params)
