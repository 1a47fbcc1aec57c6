"""Arrays and tensors in files that appear whole, and checkpoints that are read without running what is in them."""

import codecs
import collections
import inspect
import os
import pickle
import types
import zipfile
from pathlib import Path
from typing import Any, Tuple

import numpy as np
import torch

from modprompt.errors import UserError
from modprompt.storage.text import PathLike


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


def write_tensors(path: PathLike, content: Any) -> None:
    """torch.save to a file that is either complete or not there, with its folders.

    Raises:
        OSError: if it cannot be written, e.g. on a full disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.part")
    try:
        with aside.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except RuntimeError as error:  # torch's word for a full disk
        raise OSError(f"cannot write {path} ({str(error).splitlines()[0]}): is the disk full?") from None
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
        if "." in name:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, a part of something else")
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


_TRAINS = (torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR.__mro__[1])  # LRScheduler, in all versions


class _RunUnpickler(_TensorUnpickler):
    """Admits PyTorch's and Dassl's own optimisers and schedules too."""

    def find_class(self, module, name):
        if module.startswith(("torch.optim.", "dassl.optim.")) and "." not in name:
            found = pickle.Unpickler.find_class(self, module, name)
            if isinstance(found, type) and issubclass(found, _TRAINS) and found.__module__ == module:
                return found
        return super().find_class(module, name)


def _pickle_like(unpickler: type) -> types.ModuleType:
    module = types.ModuleType(f"modprompt_{unpickler.__name__.strip('_')}")
    module.Unpickler = unpickler
    module.load = lambda file, **kwargs: unpickler(file, **kwargs).load()
    return module


_tensor_pickle, _run_pickle = _pickle_like(_TensorUnpickler), _pickle_like(_RunUnpickler)


def read_tensors(path: PathLike, mapped: bool = True) -> Any:
    """The content of a file of torch.save, on the CPU; nothing but tensors and plain values is made from it.

    Args:
        path: the file.
        mapped: read its pages when they are needed, where PyTorch can; the file must not be written over then.

    Raises:
        UserError: if the file is missing, cut off, no such file, or holds anything else; the reason is named.
    """
    return _read(path, _tensor_pickle, "cpu", mapped)


def _read(path: PathLike, pickle_module: types.ModuleType, map_location: Any, mapped: bool = False) -> Any:
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}")
    if is_jit_archive(path):  # torch.load would run it
        raise UserError(f"{path} is a TorchScript archive, not a checkpoint")
    known = inspect.signature(torch.load).parameters
    options = {"weights_only": False} if "weights_only" in known else {}
    if mapped and "mmap" in known and zipfile.is_zipfile(path):
        options["mmap"] = True
    try:
        return torch.load(str(path), map_location=map_location, pickle_module=pickle_module, **options)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{path} is not a whole PyTorch checkpoint ({reason[0][:160]})") from None


def read_run(path: PathLike, map_location: Any = None) -> Any:
    """The content of a Dassl checkpoint: as read_tensors, with optimisers and schedules as the objects they were.

    Args:
        path: the file.
        map_location: as torch.load takes it.

    Raises:
        UserError: as read_tensors.
    """
    return _read(path, _run_pickle, map_location)


def is_jit_archive(path: PathLike) -> bool:
    """Whether a file is a TorchScript archive, as OpenAI publishes CLIP."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") or name == "constants.pkl" for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False
