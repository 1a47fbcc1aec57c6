"""The library that gives a CPU build of PyTorch a CUDA device which does nothing, compiled once into a cache."""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from modprompt.errors import UserError

SOURCE = Path(__file__).parent / "guard.cpp"
ROOT = Path(__file__).parents[2]


def _torch() -> Path:
    """Where PyTorch is installed."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None  # modprompt needs it
    assert spec.origin is not None
    return Path(spec.origin).parent


def why_not() -> str:
    """Why fake CUDA tensors cannot be had here, in a few words; empty where they can."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tried = next(line.partition("==")[2] for line in lines if line.startswith("torch=="))
    installed = importlib.metadata.version("torch")
    if installed.partition("+")[0] != tried:
        return f"PyTorch is {installed}, fake CUDA tensors were tried with {tried}"
    if (_torch() / "lib" / "libtorch_cuda.so").exists():
        return f"PyTorch {installed} is built for cards, fake CUDA tensors were tried with a build for CPUs"
    if shutil.which("g++") is None:
        return "there is no g++"
    return ""


@cache
def compiled() -> Path:
    """The compiled library, in a folder of this user's for temporary files.

    Raises:
        UserError: where it cannot be had.
    """
    reason = why_not()
    if reason:
        raise UserError(f"fake CUDA tensors cannot be had: {reason}")
    torch = _torch()
    content = SOURCE.read_bytes() + f"{importlib.metadata.version('torch')} {torch}".encode()
    folder = Path(tempfile.gettempdir()) / f"modprompt-fake-cuda-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder} belongs to another user: set TMPDIR")
    built = folder / f"{hashlib.sha256(content).hexdigest()[:16]}.so"
    if not built.exists():
        _compile(torch, built)
    return built


def _compile(torch: Path, built: Path) -> None:
    part = built.with_suffix(f".{os.getpid()}.part")
    include, lib = torch / "include", torch / "lib"
    words = ["g++", "-std=c++20", "-O1", "-fPIC", "-shared", f"-I{include}", f"-I{include}/torch/csrc/api/include"]
    words += [str(SOURCE), "-o", str(part), f"-L{lib}", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{lib}"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"{SOURCE.name} does not compile: {done.stderr.strip().splitlines()[-1:]}")
        part.replace(built)
    finally:
        part.unlink(missing_ok=True)
