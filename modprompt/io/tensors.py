"""Files of torch.save, written whole; read by `torch.load(weights_only=True)`, so that nothing in them is executed.

PyTorch checks no CRC: all of an archive is checked first, on the open file that is then read. Optimisers and schedules,
which checkpoints of Dassl hold as objects, come out inert unless a run of the real Dassl goes on from them.
"""

import hashlib
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Collection, Mapping
from typing import Any, BinaryIO

import numpy as np
import torch
from torch.optim import Optimizer, lr_scheduler

from modprompt.errors import UserError
from modprompt.io.files import PathLike, Refused, open_regular, part_of, sha256_of
from modprompt.programs import one_line

Location = None | str | torch.device  # of a file's tensors; None: each where it was
_HASH = "hash"  # of the rest of a sealed content
_FOLDER = 0x10  # an attribute of MS-DOS
_TRAINING = ("torch.optim.", "dassl.optim.")
_DASSL = (
    "dassl.optim.lr_scheduler.ConstantWarmupScheduler", "dassl.optim.lr_scheduler.LinearWarmupScheduler",
    "dassl.optim.radam.RAdam", "dassl.optim.radam.PlainRAdam", "dassl.optim.radam.AdamW",
)  # fmt: skip


class _Inert:
    """Stands in for an optimiser or schedule."""

    def __setstate__(self, state: Any) -> None:
        """Nothing is kept."""


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


def write_tensors(path: PathLike, content: Any) -> None:
    """torch.save to a file that is either complete or not there, with its folders; raises OSError."""
    try:
        with part_of(path, durable=True) as file:
            torch.save(content, file)
    except RuntimeError as error:  # torch's error for a full disk
        raise OSError(f"cannot write {path} ({str(error).splitlines()[0]}): is the disk full?") from None


def read_tensors(path: PathLike, torchscript: Collection[str] = ()) -> Any:
    """The content of a file of torch.save, tensors on the CPU in their own memory; optimisers and schedules inert.

    Of a TorchScript archive, which is code, it is the state dict, if the archive's SHA-256 (hex) is given. Raises
    UserError if the file is missing, cut off, damaged, of PyTorch before 1.6, no such file, or holds other objects than
    tensors and plain values; it says which.
    """
    return _load(path, "cpu", _INERT, torchscript)


def read_run(path: PathLike, map_location: Location = None) -> Any:
    """As `read_tensors` for a run of the real Dassl: optimisers and schedules are the objects that they were."""
    places = [(name, *name.rsplit(".", 1)) for name in _DASSL]
    dassls = {full: getattr(sys.modules.get(module), name, _Inert) for full, module, name in places}
    return _load(path, map_location, [(kind, name) for name, kind in {**_TORCHS, **dassls}.items()])


def read_plain(path: PathLike, map_location: Location = None) -> Any:
    """As `read_tensors`, but an optimiser or schedule as an object is refused."""
    return _load(path, map_location, [])


def write_sealed(path: PathLike, content: Mapping[str, Any]) -> None:
    """As `write_tensors`, with a hash of the content, which `read_sealed` checks."""
    write_tensors(path, {**content, _HASH: _hash_of(content)})


def read_sealed(path: PathLike) -> dict[str, Any]:
    """What `write_sealed` wrote; raises as `read_tensors`, and UserError if it was changed since."""
    content: dict[str, Any] = read_tensors(path)
    try:
        same = content.pop(_HASH) == _hash_of(content)
    except (LookupError, TypeError, AttributeError, RuntimeError):  # nothing that was ever sealed
        same = False
    if not same:
        raise UserError(f"{path} was changed by hand: its hash does not match")
    return content


def _hash_of(content: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of tensors and plain values, the same before writing and after reading."""
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

    feed(content)
    return digest.hexdigest()


def _load(path: PathLike, map_location: Location, training: list[Any], torchscript: Collection[str] = ()) -> Any:
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise UserError(f"no checkpoint at {path}") from None
    with file:
        try:
            if _require_whole(file):
                if sha256_of(path) not in torchscript:
                    raise Refused("it is a TorchScript archive, which is code, and none of OpenAI's by its SHA-256")
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # TorchScript is deprecated
                    return torch.jit.load(str(path), map_location="cpu").state_dict()
            file.seek(0)
            with torch.serialization.safe_globals([*_PLAIN, *training]):
                return torch.load(file, map_location=map_location, weights_only=True)
        except Exception as error:  # zipfile and PyTorch raise many kinds
            raise UserError(f"{path} is not a whole PyTorch checkpoint ({_reason(error)})") from None


def _require_whole(file: BinaryIO) -> bool:
    """Raise Refused unless a file is an archive whose members have their CRCs; whether it is one of TorchScript."""
    if file.read(4) != b"PK\3\4":
        raise Refused("it is none of PyTorch's files, or of PyTorch before 1.6: save it again with a newer one")
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            return True  # of TorchScript: its SHA-256 decides
        for member in archive.infolist():
            is_file = not (member.is_dir() or member.external_attr & _FOLDER)  # PyTorch reads nothing from a folder
            if not is_file or member.compress_type != zipfile.ZIP_STORED or member.file_size > size:
                raise Refused(f"its member {member.filename[:80]} is packed, or no file")
        damaged = archive.testzip()
    if damaged:
        raise Refused(f"its member {damaged[:80]} is damaged: its bytes do not have the CRC that was written with them")
    return False


def _reason(error: Exception) -> str:
    text = one_line(error).rpartition("WeightsUnpickler error: ")[2]  # advice comes before
    asked = re.search(r"GLOBAL (\S+)", text)
    if asked and asked[1].startswith(_TRAINING):
        return "it holds a schedule as an object: no run can resume from it, MODEL.INIT_WEIGHTS reads its weights"
    if asked:
        return f"it asks for {asked[1]}, which no checkpoint needs"
    return text[:160]
