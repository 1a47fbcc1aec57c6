"""Whether this machine can be measured at all: driver, kernels, free memory, other processes."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.gpu.rows import Row, at_least, holds, not_run
from benchmarks.gpu.task import Found, Place, Task
from modprompt.programs import one_line

FIGURES = ("CUDA starts", "the driver fits the PyTorch build", "kernels for this GPU", "free memory", "other processes")
FREE_GIB = 8.0


def driver(knows: int, built_for: str) -> Row:
    """A driver's CUDA version (12040) against that of PyTorch's build ("12.6"): the major one must be the same."""
    said = f"{knows // 1000}.{knows % 1000 // 10}"
    return holds(
        FIGURES[1], f"CUDA {built_for.partition('.')[0]}.0 or newer", said, knows // 1000 >= int(float(built_for))
    )


def kernels(capability: tuple[int, int], built: Sequence[str]) -> Row:
    """Kernels of a build ("sm_90", or "compute_90", which any newer GPU compiles) for a GPU's capability."""
    own = 10 * capability[0] + capability[1]
    numbers = [(word.partition("_")[0], int("".join(filter(str.isdigit, word)))) for word in built]
    runs = any(number <= own and (kind == "compute" or number // 10 == capability[0]) for kind, number in numbers)
    return holds(FIGURES[2], f"sm_{own} or one that runs there", " ".join(built), runs)


def memory(free: int, total: int) -> Row:
    """Free bytes of a GPU's memory."""
    return at_least(FIGURES[3], free / 2**30, FREE_GIB, f"of {total / 2**30:.1f} GiB", form=".1f")


def others(listed: str) -> Row:
    """Other processes on the GPU, from nvidia-smi's list, one on each line."""
    count = len([line for line in listed.splitlines() if line.strip()])
    return holds(FIGURES[4], "0", str(count), count == 0, "they slow all down, and rows of time mean little")


def _listed() -> str:
    words = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def measure(task: Task, place: Place) -> Found:
    """All of them; nvidia-smi comes first, before this process itself computes on the GPU."""
    if place.dry_run:
        return Found([not_run(figure, "a dry run has no GPU") for figure in FIGURES], {})
    rows: list[Row] = []
    try:
        last = others(_listed())
    except (OSError, subprocess.CalledProcessError) as error:
        last = not_run(FIGURES[4], f"nvidia-smi does not tell ({one_line(error)[:100]})")
    torch.cuda.init()
    rows.append(holds(FIGURES[0], "yes", "yes", float(torch.ones(1, device="cuda")) == 1.0))
    asked: Any = torch._C  # missing in a build for CPUs
    rows.append(driver(asked._cuda_getDriverVersion(), str(torch.version.cuda)))
    rows.append(kernels(torch.cuda.get_device_capability(), torch.cuda.get_arch_list()))
    rows.append(memory(*torch.cuda.mem_get_info()))
    return Found([*rows, last], {})
