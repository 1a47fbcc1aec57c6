"""Files of torch.save, written whole; they and TorchScript archives are read without running what is in them.

The bytes that are checked are those that are loaded: a file is read once or, if it is large, mapped: its pages are read
when they are needed, from the open file that was checked. Overwriting a mapped file in place changes what is read; all
writers here replace the file instead. From files that others write, weights can be read into their own memory.
"""

import errno
import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from modprompt.errors import UserError
from modprompt.io.archives import is_archive
from modprompt.io.atomic import part_of
from modprompt.io.pickle_reader import Inert
from modprompt.io.safe_open import Bytes, Refused, open_regular
from modprompt.io.torch_files import OPTIMISERS, Contents, load, tensors_of

PathLike = str | Path
_MAPPED_FROM = 16 << 20  # bytes; a smaller file is read at once
_OPEN_FILES = "/proc/self/fd"  # where the system names open files: only there a file is mapped
_TRAINS = (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)


def write_tensors(path: PathLike, content: Any) -> None:
    """torch.save to a file that is either complete or not there, with its folders.

    Raises:
        OSError: if it cannot be written, e.g. on a full disk.
    """
    try:
        with part_of(path, durable=True) as file:
            torch.save(content, file)
    except RuntimeError as error:  # torch's error for a full disk
        raise OSError(f"cannot write {path} ({str(error).splitlines()[0]}): is the disk full?") from None


def read_tensors(path: PathLike, mapped: bool = True) -> Any:
    """The content of a file of torch.save, on the CPU; nothing but tensors and plain values is made from it.

    Optimisers and schedules in it come out as inert stand-ins.

    Args:
        path: the file.
        mapped: read the pages of a large file when they are needed; it must not be overwritten then.

    Raises:
        UserError: if the file is missing, cut off, damaged, not such a file, or holds anything else; it says which.
    """
    return _read(path, lambda content: _checkpoint(load(content)).value, mapped)


def read_weights(path: PathLike, own: bool = False) -> Any:
    """As `read_tensors`; for a TorchScript archive its tensors by name.

    Args:
        path: the file.
        own: the tensors are in their own memory, so that the file may be overwritten or cut off once it is read; a
            large archive is read storage by storage. Otherwise a large file is mapped.

    Raises:
        UserError: as `read_tensors`; with `own` also if the file is changed while it is read.
    """

    def weights(content: Bytes) -> Any:
        found = load(content, own)
        return OrderedDict(tensors_of(found.value)) if found.is_torchscript else found.value

    return _read(path, weights, True, own)


def read_run(path: PathLike, map_location: None | str | torch.device = None) -> Any:
    """The content of a Dassl checkpoint: as read_tensors, with optimisers and schedules as the objects they were.

    They are made from their attributes when the file has been read, if they are PyTorch's or Dassl's own classes.

    Args:
        path: the file.
        map_location: the device of its tensors; by default that which each was on.

    Raises:
        UserError: as read_tensors.
    """
    content = _read(path, lambda content: _checkpoint(load(content, False, _placing(map_location))).value, False)
    try:
        return _alive(content, {})
    except Exception as error:  # classes of PyTorch and Dassl, given attributes that they do not have
        raise UserError(f"{path} is not a whole PyTorch checkpoint ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160]


def read_plain(path: PathLike, map_location: None | str | torch.device = None) -> Any:
    """The content of a checkpoint that holds only tensors and plain values.

    Args:
        path: the file.
        map_location: as `read_run`.

    Raises:
        UserError: as read_tensors, or if it holds an optimiser or schedule as an object.
    """

    def plain(content: Bytes) -> Any:
        found = _checkpoint(load(content, False, _placing(map_location)))
        if any(name.startswith(OPTIMISERS) for name in found.names):
            raise Refused(
                "it holds a schedule as an object: no run can resume from it, MODEL.INIT_WEIGHTS reads its weights"
            )
        return found.value

    return _read(path, plain, False)


def _placing(map_location: None | str | torch.device) -> Callable[[Tensor, str], Tensor]:
    return lambda numbers, said: numbers.to(said if map_location is None else map_location)


def _checkpoint(found: Contents) -> Contents:
    if found.is_torchscript:
        raise Refused("it is a TorchScript archive, not a checkpoint")
    return found


def _read(path: PathLike, use: Callable[[Bytes], Any], mapped: bool, unchanged: bool = False) -> Any:
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise UserError(f"no checkpoint at {path}") from None
    with file:
        try:
            before = os.fstat(file.fileno())
            loaded = use(_content(file, mapped))
            if unchanged and not _is_same(before, os.fstat(file.fileno())):
                raise Refused("it was changed while it was read")
            return loaded
        except Exception as error:  # loaders raise many kinds
            if isinstance(error, MemoryError) or os.strerror(errno.ENOMEM) in str(error):  # PyTorch's have no kind
                raise UserError(f"{path} cannot be read: there is not enough memory") from None
            raise UserError(f"{path} is not a whole PyTorch checkpoint ({_reason(error)})") from None


def _is_same(before: os.stat_result, now: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) == (now.st_size, now.st_mtime_ns)


def _content(file: BinaryIO, mapped: bool) -> Bytes:
    if mapped and os.fstat(file.fileno()).st_size >= _MAPPED_FROM and os.path.exists(f"{_OPEN_FILES}/{file.fileno()}"):
        content = Bytes(file)
        if is_archive(content):
            return content
    return Bytes(file.read())


def _alive(item: Any, done: dict[int, Any]) -> Any:
    """The same content with optimisers and schedules in place of their stand-ins."""
    if id(item) in done:
        return done[id(item)]
    if isinstance(item, dict):
        done[id(item)] = item
        for key in item:
            item[key] = _alive(item[key], done)
    elif isinstance(item, list):
        done[id(item)] = item
        item[:] = [_alive(part, done) for part in item]
    elif type(item) is tuple:
        done[id(item)] = tuple(_alive(part, done) for part in item)
    elif isinstance(item, Inert):
        done[id(item)] = _object_of(item, done)
    return done.get(id(item), item)


def _object_of(stand: Inert, done: dict[int, Any]) -> Any:
    """The optimiser or schedule that a stand-in stands for; the stand-in if it is nothing of that kind."""
    module, _, name = stand.name.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    if not (isinstance(found, type) and issubclass(found, _TRAINS) and found.__module__ == module):
        return stand
    state = _alive({} if stand.state is None else stand.state, done)
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise UserError(f"{stand.name} in it has no attributes by name")
    made = found.__new__(found)
    setter = getattr(made, "__setstate__", None)
    if setter is not None:
        setter(state)
    else:
        made.__dict__.update(state)
    return made
