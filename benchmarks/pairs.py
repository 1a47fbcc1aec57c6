"""Training steps of a method, ours and its repository's: each side in a separate process, in turn, and a row of both.

In the processes of repositories `.half()` and `.cuda()` do nothing. No process may use more than three quarters of the
memory that is free when it starts, so that a side that needs more ends, and others go on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.cases import class_names
from benchmarks.reference import as_it_is
from modprompt.engine.memory import keep_freed_memory

ROOT = Path(__file__).resolve().parent.parent
MOST = 1.0  # ours over theirs
HEADING = (
    "| method | classes | modprompt | repository | time ratio | peak memory ratio |\n"
    "| --- | ---: | --- | --- | ---: | ---: |"
)
_SHARE = 0.75  # of free memory
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def in_turn(sides: Mapping[str, Callable[[], object]], count: int, clock: str) -> dict[str, list[float]]:
    """Seconds of `count` calls of each side, in turn, since machines slow down and speed up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(count):
        for name in list(sides) if number % 2 else reversed(list(sides)):  # neither is always the second
            start = CLOCKS[clock]()
            sides[name]()
            seconds[name].append(CLOCKS[clock]() - start)
    return seconds


@contextlib.contextmanager
def on_a_cpu(weights: Callable[[str], Mapping[str, Tensor]]) -> Iterator[None]:
    """In this context the repositories' calls for a GPU do nothing.

    Args:
        weights: gives what is loaded from a path.
    """
    with contextlib.ExitStack() as stack:
        for kind, name in ((Tensor, "half"), (nn.Module, "half"), (Tensor, "cuda"), (nn.Module, "cuda")):
            stack.enter_context(mock.patch.object(kind, name, as_it_is))
        stack.enter_context(mock.patch("torch.jit.load", side_effect=RuntimeError))
        stack.enter_context(mock.patch("torch.load", side_effect=lambda path, *_, **__: dict(weights(str(path)))))
        yield


def our_step(model: Any, optimiser: torch.optim.Optimizer, batch: tuple[Tensor, Tensor]) -> Callable[[], None]:
    """A function that makes a step of one of our models on images and labels."""
    keep_freed_memory()
    images, labels = batch

    def step() -> None:
        optimiser.zero_grad()
        model.loss(images, labels).backward()
        optimiser.step()

    return step


def stepping(
    kind: Any, cfg: Any, classes: int, batch: tuple[Tensor, Tensor], weights: Callable[[str], Mapping[str, Tensor]]
) -> Callable[[], None]:
    """A function that makes a step of a repository's trainer in Dassl's form, built here without its data.

    Args:
        kind: its class.
        cfg: its configuration.
        classes: their number.
        batch: images and labels.
        weights: as in on_a_cpu.
    """
    trainer: Any = object.__new__(kind)
    trainer._models, trainer._optims, trainer._scheds = {}, {}, {}
    trainer.cfg, trainer.device = cfg, torch.device("cpu")
    trainer.dm = SimpleNamespace(dataset=SimpleNamespace(classnames=class_names(classes)), num_classes=classes)
    trainer.batch_idx, trainer.num_batches = 0, 1 << 30
    with on_a_cpu(weights), contextlib.redirect_stdout(None):
        trainer.build_model()
    images, labels = batch
    trainer.set_model_mode("train")

    def step() -> None:
        with on_a_cpu(weights):
            trainer.forward_backward({"img": images, "label": labels})

    return step


def seconds_of(step: Callable[[], None], steps: int, clock: Callable[[], float]) -> list[float]:
    """Seconds of `steps` steps, after one that does not count; with 0 steps those of the first."""
    if steps:
        step()
    seconds = []
    for _ in range(steps or 1):
        start = clock()
        step()
        seconds.append(clock() - start)
    return seconds


def told(seconds: list[float]) -> str:
    """A process's output for its measurement, with its peak memory in GiB."""
    return json.dumps({"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20})


def limit(most_s: int = 0) -> None:
    """Limit this process to a share of the memory that is free now, and to `most_s` CPU seconds, if given."""
    if most_s:
        resource.setrlimit(resource.RLIMIT_CPU, (most_s, most_s + 1))
    if sys.platform == "linux":
        free = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
        most = int(int(free.split()[1]) * 1024 * _SHARE)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def in_a_process(module: str, case: Sequence[Any], most_s: int = 0) -> dict[str, Any] | str:
    """A program's output for a case; words if it has no number.

    Args:
        module: the program, which gets the case after `--one`.
        case: method, classes, checkout, what else the program needs; an empty checkout is our side.
        most_s: CPU seconds after which it is ended, which it gets after `--most`; 0 for none.

    Raises:
        RuntimeError: if it fails.
    """
    words = [sys.executable, "-W", "ignore", "-m", module, "--one", json.dumps(case)]
    words += ["--most", str(most_s)] if most_s else []
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    lines = done.stderr.strip().splitlines()
    if done.returncode == -signal.SIGXCPU:
        return f"over {most_s} s in all"
    if done.returncode in (-9, 137) or (done.returncode and "allocate memory" in lines[-1]):
        return "no memory"
    if done.returncode:
        method, classes, checkout, *_ = case
        last_line = (lines or ["no output"])[-1]
        raise RuntimeError(
            f"The measurement of {method}, {classes} classes, {checkout or 'modprompt'} failed: {last_line}"
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def flags(parser: argparse.ArgumentParser, repositories: Sequence[str], rounds: int) -> None:
    """Add the flags of all such programs."""
    for name in repositories:
        parser.add_argument(f"--{name}", default="", metavar="DIR", help=f"a checkout of the repository of {name}")
    parser.add_argument("--classes", nargs="+", type=int, default=(5, 50), help="numbers of classes (default: 5 50)")
    parser.add_argument(
        "--rounds", type=int, default=rounds, help="how often each side is measured (default: %(default)s)"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)


def compared(rows: Iterable[tuple[str, bool]], asked: str) -> int:
    """Print a table, row by row as they come; 1 if a bound does not hold.

    Args:
        rows: from `row`.
        asked: the bounds, as a clause.
    """
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, ViT-B/16's size\n")
    print(HEADING)
    every = True
    for text, holds in rows:
        every &= holds
        print(text, flush=True)
    print(f"\nRequirement: {asked}. {'Met.' if every else 'NOT MET.'}")
    return 0 if every else 1


def row(module: str, case: Sequence[Any], rounds: int, most: float = MOST, most_s: int = 0) -> tuple[str, bool]:
    """A row of the table, and whether its bounds hold.

    Args:
        module: the program, as for in_a_process.
        case: likewise, with the checkout.
        rounds: of both sides.
        most: bound of our time over theirs.
        most_s: as for in_a_process.
    """
    method, classes, checkout, *more = case
    sides: dict[str, list[dict[str, Any] | str]] = {"": [], checkout: []}
    for _ in range(rounds):
        for side, found in sides.items():
            found.append(in_a_process(module, (method, classes, side, *more), most_s))
    said, numbers = [], []
    for found in sides.values():
        done = [one for one in found if isinstance(one, dict)]
        if not done:
            said.append(str(found[0]))
            continue
        time = statistics.median(one for each in done for one in each["seconds"])
        peak = max(one["peak"] for one in done)
        numbers.append((time, peak))
        said.append(f"{time:.2f} s, {peak:.2f} GiB")
    if len(numbers) < 2:
        return f"| {method} | {classes} | {said[0]} | {said[1]} | - | - |", isinstance(sides[""][0], dict)
    (mine, my_peak), (theirs, their_peak) = numbers
    time_ratio, memory = mine / theirs, my_peak / their_peak
    holds = time_ratio <= most and memory <= MOST
    return f"| {method} | {classes} | {said[0]} | {said[1]} | {time_ratio:.2f} | {memory:.2f} |", holds
