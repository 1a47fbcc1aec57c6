"""How many text tokens fit in free memory at a time; recomputing instead of keeping; keeping freed memory."""

import ctypes
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from modprompt.errors import UserError
from modprompt.io.result import GPU_SHARE

SAVED = 16  # floats per layer, token and unit of width that training keeps or needs meanwhile: measured, rounded up
SHARE = 0.5  # of the free memory that the text side may use

_CGROUPS, _OF_PROCESS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_LIMITS = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))  # version 2 and 1

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # parameters of glibc's mallopt
_MOST_KEPT = 2**31 - 1  # bytes, the largest value that mallopt accepts


def keep_freed_memory() -> bool:
    """Let this process keep up to 2 GiB of freed memory for its next tensors; False where the C library cannot.

    By default glibc hands every large block back to the system, which clears its pages again for the next tensor: on a
    CPU a tenth of a training step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _MOST_KEPT)) and bool(mallopt(_MMAP_MAX, 0))


def recomputed(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """function(*inputs), which must draw no random numbers; the backward pass computes it again: nothing is kept."""
    if not torch.is_grad_enabled():
        return function(*inputs)
    # the generators' states are not saved: reading them waits for the GPU
    output: Tensor = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
    return output


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _left_by_limits() -> list[int]:
    """What this process's control groups, a job's or container's, leave it: its own and all above, up to the root."""
    places = {_CGROUPS, _CGROUPS / "memory"}  # in a container its own group is the root
    for line in _text(_OF_PROCESS).splitlines():  # number:controllers:path
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            own = _CGROUPS / controllers / path.lstrip("/")
            places |= {own, *(above for above in own.parents if above.is_relative_to(_CGROUPS))}
    left = []
    for place in places:
        for limit, used in ((_text(place / one).strip() for one in pair) for pair in _LIMITS):
            if limit.isdigit() and used.isdigit():
                left.append(max(0, int(limit) - int(used) + _cached(place)))
    return left


def _cached(place: Path) -> int:
    """Bytes of files in a group's memory, which are dropped where a program needs more."""
    facts: dict[str, str] = dict(re.findall(r"^(\w+) (\d+)$", _text(place / "memory.stat"), re.MULTILINE))
    return sum(int(facts.get(f"total_{name}", facts.get(name, "0"))) for name in ("active_file", "inactive_file"))


def _available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def share_of_gpu() -> float:
    """The share of a GPU's memory that this process may use: 1.0 for all that is free.

    Raises:
        UserError: if MODPROMPT_GPU_SHARE is not a number above 0 and up to 1.
    """
    told = os.environ.get(GPU_SHARE) or "1"
    try:
        share = float(told)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise UserError(
            f"The environment variable {GPU_SHARE} must be a number greater than 0 and at most 1, got {told!r}. "
            "Correct or unset this variable."
        )
    return share


def take_share() -> None:
    """Limit PyTorch to this process's share of the GPU; where there is a share, this starts CUDA."""
    share = share_of_gpu()
    if share < 1:
        torch.cuda.set_per_process_memory_fraction(share)


def free_bytes(device: torch.device) -> int | None:
    """Free memory of a device; of a CPU what the machine or its container has left. None if unknown.

    Of a GPU that others use too, it is what is left of this process's share, whatever the others use so far.
    """
    if device.type == "cuda":
        share = share_of_gpu()
        if share < 1:
            whole = torch.cuda.get_device_properties(device).total_memory
            return max(0, int(share * whole) - torch.cuda.memory_allocated(device))
        # what the allocator holds but nobody uses is free too
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    available = _available()
    return min(_left_by_limits() + ([] if available is None else [available]), default=None)


def most_text_tokens(layers: int, width: int, itemsize: int, free: int | None) -> int | None:
    """Number of text tokens whose training fits in SHARE of the free bytes, or None if that is unknown."""
    if free is None:
        return None
    return max(1, int(SHARE * free / (SAVED * layers * width * itemsize)))
