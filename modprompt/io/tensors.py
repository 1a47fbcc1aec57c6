"""Files of tensors: of torch.save, and of safetensors, whole or in shards next to an index; written whole.

torch.save's are read by `torch.load(weights_only=True)`, so that nothing in them is executed. PyTorch checks no CRC:
all of an archive is checked first, on the open file that is then read. Optimisers and schedules, which checkpoints of
Dassl hold as objects, come out inert unless a run of the real Dassl goes on from them.
Those of safetensors are read as bytes: mapped, cutting one off would end the process. Nothing finds a flipped bit.
"""

import json
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer, lr_scheduler

from modprompt.errors import UserError
from modprompt.io.files import PathLike, Refused, open_regular, part_of, read_bytes, read_text, sha256_of
from modprompt.io.records import parse_json
from modprompt.programs import one_line

Location = None | str | torch.device  # of a file's tensors; None: each where it was
_FOLDER = 0x10  # an attribute of MS-DOS
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_TRAINING = ("torch.optim.", "dassl.optim.")
_DASSL = (
    "dassl.optim.lr_scheduler.ConstantWarmupScheduler", "dassl.optim.lr_scheduler.LinearWarmupScheduler",
    "dassl.optim.radam.RAdam", "dassl.optim.radam.PlainRAdam", "dassl.optim.radam.AdamW",
)  # fmt: skip


class _Inert:
    """Stands in for an optimiser or schedule."""

    def __setstate__(self, state: Any) -> None:
        """Nothing is kept."""


class _Module(dict[str, Any]):
    """Stands in for a pickled module: its own parameters and buffers, by name."""

    def __setstate__(self, state: Any) -> None:
        self.update({**state["_buffers"], **state["_parameters"]})


class _NumpyType:
    """Stands in for NumPy's dtype: its own `__setstate__` trusts what it is given."""

    def __init__(self, name: str, *_: Any):
        self.name, self.order = name, "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


def _numpy_scalar(kind: _NumpyType, content: bytes) -> Any:
    return np.frombuffer(content, np.dtype(kind.order + kind.name))[0]


_PLAIN: list[Any] = [  # (stand-in, full name in files)
    (lambda *_: {}, "collections.defaultdict"),
    (dict, "builtins.dict"),
    (_NumpyType, "numpy.dtype"),
    (_numpy_scalar, "numpy.core.multiarray.scalar"),  # of NumPy 1
    (_numpy_scalar, "numpy._core.multiarray.scalar"),
]
_TORCHS = {
    f"{kind.__module__}.{kind.__qualname__}": kind
    for module in (torch.optim, lr_scheduler)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, (Optimizer, lr_scheduler.LRScheduler))
}
_INERT = [(_Inert, name) for name in (*_TORCHS, *_DASSL)]
_HEADS = [(_Module, "src.modeling.ClassificationHead")]  # zero-shot heads of codebases that merge models


def write_tensors(path: PathLike, content: Any) -> None:
    """torch.save to a file that is either complete or not there, with its folders; raises OSError."""
    try:
        with part_of(path, durable=True) as file:
            torch.save(content, file)
    except RuntimeError as error:  # torch's error for a full disk
        raise OSError(f"Cannot write {path} ({str(error).splitlines()[0]}). Check whether the disk is full.") from None


def read_tensors(path: PathLike, torchscript: Collection[str] = ()) -> Any:
    """The content of a file of torch.save, tensors on the CPU in their own memory; optimisers and schedules inert.

    A zero-shot head that was pickled whole is the dict of its own tensors.

    Of a TorchScript archive, which is code, it is the state dict, if the archive's SHA-256 (hex) is given. Raises
    UserError if the file is missing, cut off, damaged, of PyTorch before 1.6, no such file, or holds other objects than
    tensors and plain values; it says which.
    """
    return _load(path, "cpu", [*_INERT, *_HEADS], torchscript)


def read_run(path: PathLike, map_location: Location = None) -> Any:
    """As `read_tensors` for a run of the real Dassl: optimisers and schedules are the objects that they were."""
    places = [(name, *name.rsplit(".", 1)) for name in _DASSL]
    dassls = {full: getattr(sys.modules.get(module), name, _Inert) for full, module, name in places}
    return _load(path, map_location, [(kind, name) for name, kind in {**_TORCHS, **dassls}.items()])


def read_plain(path: PathLike, map_location: Location = None) -> Any:
    """As `read_tensors`, but an optimiser or schedule as an object is refused."""
    return _load(path, map_location, [])


def _load(path: PathLike, map_location: Location, training: list[Any], torchscript: Collection[str] = ()) -> Any:
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise UserError(f"The checkpoint {path} does not exist.") from None
    with file:
        try:
            if _require_whole(file):
                if sha256_of(path) not in torchscript:
                    raise Refused(
                        "the file is a TorchScript archive, which can execute code, and its SHA-256 hash is not the "
                        "hash of any file published by OpenAI"
                    )
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # TorchScript is deprecated
                    return torch.jit.load(str(path), map_location="cpu").state_dict()
            file.seek(0)
            with torch.serialization.safe_globals([*_PLAIN, *training]):
                return torch.load(file, map_location=map_location, weights_only=True)
        except Exception as error:  # zipfile and PyTorch raise many kinds
            raise UserError(f"{path} is not a complete PyTorch checkpoint ({_reason(error)}).") from None


def _require_whole(file: BinaryIO) -> bool:
    """Raise Refused unless a file is an archive whose members have their CRCs; whether it is one of TorchScript."""
    if file.read(4) != b"PK\3\4":
        raise Refused("the file was not saved by PyTorch 1.6 or newer; save it again with a newer PyTorch")
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            return True  # of TorchScript: its SHA-256 decides
        for member in archive.infolist():
            is_file = not (member.is_dir() or member.external_attr & _FOLDER)  # PyTorch reads nothing from a folder
            if not is_file or member.compress_type != zipfile.ZIP_STORED or member.file_size > size:
                raise Refused(f"the archive entry {member.filename[:80]} is compressed or is not a file")
        damaged = archive.testzip()
    if damaged:
        raise Refused(f"the archive entry {damaged[:80]} is damaged because its CRC does not match")
    return False


def _reason(error: Exception) -> str:
    text = one_line(error).rpartition("WeightsUnpickler error: ")[2]  # advice comes before
    asked = re.search(r"GLOBAL (\S+)", text)
    if asked and asked[1].startswith(_TRAINING):
        return (
            "the file contains a learning-rate schedule as an object, so no run can resume from the file, but "
            "MODEL.INIT_WEIGHTS can read the weights"
        )
    if asked:
        return f"the file refers to {asked[1]}, which is not allowed in a checkpoint"
    return text[:160]


def read_safetensors(path: PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors on the CPU, in the file's order, and texts by name; raises as read_bytes, UserError if it is damaged."""
    from safetensors.torch import load  # late: most runs read none

    content = read_bytes(path)
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        texts = header.pop("__metadata__", {})
        return {name: tensors[name] for name in header}, texts
    except Exception as error:  # the package raises many kinds
        raise UserError(f"Cannot read {path} as a safetensors file ({one_line(error)[:160]}).") from None


def write_safetensors(path: PathLike, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and texts to a file that is either complete or not there, with its folders."""
    from safetensors.torch import save

    content = {name: one.detach().cpu().contiguous().clone() for name, one in tensors.items()}
    with part_of(path, durable=True) as file:
        file.write(save(content, dict(metadata)))


def read_shards(index: Path, read: Callable[[Path], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that an index of weights names, in its order; `read` gives those of one file by name.

    An index is JSON: {"weight_map": {tensor's name: file's name}}, as model.safetensors.index.json. Raises as read_text
    and `read`, and UserError if it is no such index, or a file next to it or a tensor is missing.
    """
    try:
        places: dict[str, str] = parse_json(read_text(index))["weight_map"]
        names = sorted(set(places.values()))
    except (Refused, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f'{index} is not an index file of model weights, because its "weight_map" cannot be read ({error}).'
        ) from None
    for name in names:  # all of them before the first is read, which can take minutes
        if Path(str(name)).name != name or not (index.parent / name).is_file():
            raise UserError(
                f"{index} lists the file {str(name)[:80]!r}, which is missing in the same folder. Download this "
                "file too."
            )
    files = {name: read(index.parent / name) for name in names}
    for tensor, name in places.items():
        if tensor not in files[name]:
            raise UserError(
                f"{index.parent / name} lacks {tensor[:80]!r}, which {index} lists. Download both files again."
            )
    return {tensor: files[name][tensor] for tensor, name in places.items()}


def require_learned(values: Mapping[str, Any]) -> None:
    """Raise Refused if a learned tensor, by name, is not made of finite numbers with a point."""
    for key, value in values.items():
        plain = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta
        if not plain or value.dtype not in _FLOATS:
            raise Refused(f"{key} is not a dense floating-point tensor")
        if not torch.isfinite(value).all():
            raise Refused(f"{key} contains values that are not finite, so the training diverged")
