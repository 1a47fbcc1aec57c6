"""Registries, files, images, seeds, and a look at the environment."""

import json
import os
import platform
import random
import warnings

import numpy as np
import torch

from modprompt.checks import known_names
from modprompt.io import json_text
from modprompt.io.image_files import read_of_run as read_image  # noqa: F401 - Dassl's name of it
from modprompt.io.safe_open import read_text
from modprompt.io.text import write_whole


class Registry:
    """A table of named objects, which config files name.

    Args:
        name: what the table holds, for its messages.
    """

    def __init__(self, name):
        self._name = name
        self._objects = {}

    def register(self, obj=None, force=False):
        """Register an object under its `__name__`; without `obj`, a decorator that does.

        Raises:
            KeyError: if the name is taken and `force` is off.
        """
        if obj is None:
            return lambda target: self.register(target, force=force)
        if obj.__name__ in self._objects and not force:
            raise KeyError(f"{self._name}: the name {obj.__name__!r} is registered already")
        self._objects[obj.__name__] = obj
        return obj

    def get(self, name):
        """The object of that name; KeyError if there is none."""
        return self._objects[name]

    def registered_names(self):
        """All names, in the order of registration."""
        return list(self._objects)


def check_availability(requested, available, setting="setting"):
    """Raise ValueError unless `requested` is among the `available` names; the message proposes the nearest."""
    if requested not in available:
        what = f"there is no {requested!r}" if requested else "no name is given"
        raise ValueError(f"{setting}: {what}{known_names(requested, list(available))}")


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
    return json_text.parse(read_text(fpath))


def write_json(obj, fpath):
    """Write a JSON file (indented by 4) whole: aside first, then renamed."""
    mkdir_if_missing(os.path.dirname(os.path.abspath(fpath)))
    write_whole(fpath, json.dumps(obj, indent=4, separators=(",", ": ")))


def listdir_nohidden(path, sort=False):
    """Names in a folder without those that begin with a dot, in the system's order or sorted."""
    names = [name for name in os.listdir(path) if not name.startswith(".")]
    return sorted(names) if sort else names


def set_random_seed(seed):
    """Seed Python's random, numpy, torch and CUDA with one number."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)


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
