"""Files, images, seeds, and a look at the environment."""

import difflib
import json
import os
import platform
import random
import warnings

import numpy as np
import torch

from modprompt.io.files import read_text, write_whole
from modprompt.io.image_files import FAMILY, read_rgb
from modprompt.io.records import parse_json


def mkdir_if_missing(dirname):
    """Make a folder, with its parents, unless it exists."""
    os.makedirs(dirname, exist_ok=True)


def check_isfile(fpath):
    """Whether the path is a file; warns if not."""
    found = os.path.isfile(fpath)
    if not found:
        warnings.warn(f"no file at {fpath}", stacklevel=2)
    return found


def read_json(fpath):
    """The content of a JSON file."""
    return parse_json(read_text(fpath))


def write_json(obj, fpath):
    """Write a JSON file (indented by 4) whole: aside first, then renamed."""
    mkdir_if_missing(os.path.dirname(os.path.abspath(fpath)))
    write_whole(fpath, json.dumps(obj, indent=4, separators=(",", ": ")))


def read_image(path, rule=FAMILY):
    """Return an image file as a PIL image in RGB.

    Args:
        path: the image file.
        rule: how the file is decoded, FAMILY or PEOPLE of modprompt.io.image_files (INPUT.DECODING).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an image or is damaged; the file is named.
    """
    return read_rgb(path, rule)


def listdir_nohidden(path, sort=False):
    """Names in a folder without those that begin with a dot, in the system's order or sorted."""
    names = [name for name in os.listdir(path) if not name.startswith(".")]
    return sorted(names) if sort else names


def tolist_if_not(x):
    """x itself if it is a list, otherwise [x]."""
    return x if isinstance(x, list) else [x]


def set_random_seed(seed):
    """Seed Python's random, numpy, torch and CUDA with one number."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)


def check_availability(requested, available, setting=""):
    """Raise ValueError unless `requested` is among the `available` names; the message proposes the nearest.

    Args:
        requested: a name.
        available: the names there are.
        setting: the config key that gives it, for the message.
    """
    if requested in available:
        return
    where, known = (f"{setting}: " if setting else ""), f"(known: {', '.join(sorted(available))})"
    if not requested:
        raise ValueError(f"{where}the value is empty {known}")
    folded = {name.lower(): name for name in available}
    near = difflib.get_close_matches(str(requested).lower(), folded, n=1, cutoff=0.5)
    hint = f". Did you mean {folded[near[0]]!r}?" if near else ""
    raise ValueError(f"{where}unknown value {requested!r}{hint} {known}")


def collect_env_info():
    """Versions and devices, one on each line."""
    import PIL
    import torchvision

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] or ["CPU only"]
    lines = {
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "Pillow": PIL.__version__,
        "System": platform.platform(),
        "Devices": ", ".join(devices),
        "CPU threads": torch.get_num_threads(),
    }
    return "\n".join(f"{name}: {value}" for name, value in lines.items())
