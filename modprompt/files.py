"""Files that appear whole, and checkpoints that are read without running what is in them."""

import codecs
import collections
import inspect
import json
import os
import pickle
import types
import zipfile
from pathlib import Path
from typing import Any, Tuple, Union

import numpy as np
import torch

from modprompt.errors import UserError

PathLike = Union[str, Path]


def write_whole(path: PathLike, text: str) -> None:
    """Write a text file that is either complete or not there, with its folders."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    finally:
        if aside.exists():
            aside.unlink()


def write_arrays(path: PathLike, **arrays: np.ndarray) -> None:
    """Write a .npz file that is either complete or not there, with its folders."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.stem}.{os.getpid()}.part.npz")
    try:
        np.savez(str(aside), **arrays)
        os.replace(aside, path)
    finally:
        if aside.exists():
            aside.unlink()


def read_arrays(path: PathLike, *names: str) -> Tuple[np.ndarray, ...]:
    """The arrays of these names in a .npz file.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is damaged or lacks one of them.
    """
    try:
        with np.load(str(path), allow_pickle=False) as arrays:
            return tuple(arrays[name] for name in names)
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error})") from None


def write_json(path: PathLike, content: Any) -> None:
    """Write JSON (indented by 2) whole."""
    write_whole(path, json.dumps(content, indent=2) + "\n")


class _Inert:
    """Stands for an optimiser or schedule object in an old checkpoint: takes any state, does nothing."""

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass


_ADMITTED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    ("torch", "Size"): torch.Size,
    ("builtins", "dict"): dict,
    ("builtins", "set"): set,
    ("_codecs", "encode"): codecs.encode,  # bytes inside a numpy scalar
}
_TORCH_REBUILD = {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"}


class _TensorUnpickler(pickle.Unpickler):
    """Admits tensors, plain containers and numpy scalars; optimiser objects come out empty; all else is refused."""

    def find_class(self, module, name):
        module = "builtins" if module == "__builtin__" else module  # its name in old pickles
        if (module, name) in _ADMITTED:
            return _ADMITTED[module, name]
        if module == "torch._utils" and name in _TORCH_REBUILD:
            return getattr(torch._utils, name)
        if module in ("torch", "torch.storage") and name.endswith("Storage"):
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "scalar":
            return super().find_class(module, name)
        if (module, name) == ("numpy", "dtype"):
            return super().find_class(module, name)
        if module.startswith("torch.optim."):
            return _Inert
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a checkpoint has no need of")


_pickle_module = types.ModuleType("modprompt_tensor_pickle")
_pickle_module.Unpickler = _TensorUnpickler
_pickle_module.load = lambda file, **kwargs: _TensorUnpickler(file, **kwargs).load()


def read_tensors(path: PathLike) -> Any:
    """The content of a file of torch.save, on the CPU; nothing but tensors and plain values is made from it.

    Raises:
        UserError: if the file is missing, cut off, no such file, or holds anything else; the reason is named.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}")
    known = inspect.signature(torch.load).parameters
    options = {"weights_only": False} if "weights_only" in known else {}
    if "mmap" in known and zipfile.is_zipfile(path):
        options["mmap"] = True  # pages are read when they are needed
    try:
        return torch.load(str(path), map_location="cpu", pickle_module=_pickle_module, **options)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{path} is not a whole PyTorch checkpoint ({reason[0][:160]})") from None


def is_jit_archive(path: PathLike) -> bool:
    """Whether a file is a TorchScript archive, as OpenAI publishes CLIP."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") or name == "constants.pkl" for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False
