"""What was measured on: GPU, versions, sources. They are the same for all figures of one table."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gpu.records import nameless
from benchmarks.gpu.task import Place
from modprompt.places import ROOT
from modprompt.version import __version__

OURS = ("modprompt", "benchmarks", "configs", "tests/card")  # folders that figures depend on
OFFICIAL = ("trainers", "clip")
# in a separate process, so that this one holds nothing of the GPU while the cases run
GPU = """
import ctypes, torch
from modprompt.engine import blocks, precision
gpu = torch.cuda.get_device_properties(0)
print(f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, compute {gpu.major}.{gpu.minor}")
half = torch.randn(4, 12, 197, 64, device="cuda", dtype=torch.float16)
for attend in (torch.nn.functional.scaled_dot_product_attention, blocks.attention):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        attend(half, half, half)
    precision.set_products()  # which a training calls before ours
    print(*{one.name[26:] for one in seen.events() if one.name.startswith("aten::_scaled_dot_product_")})
torch.ones(2, 2, device="cuda") @ torch.ones(2, 2, device="cuda")  # cuBLAS is loaded now
library = ctypes.CDLL(f"libcublas.so.{torch.version.cuda.split('.')[0]}")  # last: a system's may have another name
numbers = [ctypes.c_int() for _ in range(3)]
for which, number in enumerate(numbers):
    library.cublasGetProperty(which, ctypes.byref(number))
print(".".join(str(number.value) for number in numbers))
"""


def _said(*words: str) -> str:
    """A program's output, even if it fails; "" if there is no such program."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    except OSError:
        return ""
    return done.stdout.strip()


def hash_of(folder: Path, parts: Sequence[str] = OURS) -> str:
    """The first digits of a hash of a checkout's sources in these folders, by their names and contents."""
    found = hashlib.sha256()
    files = (file for part in parts for file in (folder / part).rglob("*") if file.suffix in (".py", ".yaml"))
    for name, file in sorted((file.relative_to(folder).as_posix(), file) for file in files):
        found.update(f"{name}\n{file.stat().st_size}\n".encode() + file.read_bytes())
    return found.hexdigest()[:16]


def facts(place: Place) -> dict[str, str]:
    """All of them, by name, in words."""
    found = {"GPU": "none, a DRY RUN on a CPU"}
    if not place.dry_run:
        said = [*_said(sys.executable, "-c", GPU).splitlines(), "", "", "", ""]
        gpu, attention, own_attention, cublas = said[:4]
        driver = _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").partition("\n")[0]
        found = {"GPU": gpu or "unknown", "driver": driver or "unknown", "cuBLAS": cublas or "unknown"}
        found["cuDNN"] = str(torch.backends.cudnn.version())
        found["PyTorch's own choice of attention"] = attention or "unknown"
        found["our attention"] = own_attention or "unknown"
    found = {
        **found,
        "CUDA": str(torch.version.cuda),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "modprompt": __version__,
        "sources": hash_of(ROOT),
        "official": hash_of(Path(place.reference), OFFICIAL) if place.reference else "not measured",
    }
    return {name: nameless(value) for name, value in found.items()}
