"""Choosing images to label: seconds and memory of BADGE and coreset, and BADGE against whole gradient embeddings.

    python -m benchmarks.active                    5,000 candidates of 50,000 images, 1,000 classes, 1,024 features
    python -m benchmarks.active --clock cpu --threads 1    for a machine that others use as well

Features and logits are random: every image is compared with every candidate, whatever they are. Each acquisition has
its own process, for its peak memory. The two sides of BADGE alternate in one process, on so few images that the
embeddings fit, and must choose the same.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from benchmarks import plain_active
from benchmarks.pairs import CLOCKS, in_turn
from modprompt.active import badge, coreset
from modprompt.active.acquisition import Seen

MINUTES, GB = 10, 6  # the most that each may need
CHOICES: dict[str, Callable[[Seen, int], object]] = {"badge": badge.badge, "coreset": coreset.coreset}
OURS, WHOLE = "ours", "whole embeddings"


class Size(NamedTuple):
    """How many images are chosen from how many."""

    images: int
    classes: int
    features: int
    candidates: int

    def __str__(self) -> str:
        return f"{self.candidates:,} of {self.images:,} images, {self.classes:,} classes, {self.features:,} features"


SMALL = Size(2000, 50, 512, 100)  # whole embeddings: 410 MB


def seen(size: Size) -> Seen:
    """Random features and logits; one image for each class has a label."""
    torch.manual_seed(0)
    features = F.normalize(torch.randn(size.images + size.classes, size.features))
    p = torch.randn(size.images + size.classes, size.classes).mul_(3).softmax(dim=1)
    split = (size.classes, size.images)
    (labelled, rest), (labelled_p, rest_p) = features.split(split), p.split(split)
    return Seen(rest, rest_p, labelled, labelled_p, torch.arange(size.classes), torch.empty(0, size.features), 32)


def measured(name: str, size: Size, clock: str) -> tuple[float, float]:
    """Seconds of an acquisition, and the peak of this process in GB."""
    there = seen(size)
    start = CLOCKS[clock]()
    CHOICES[name](there, size.candidates)
    return CLOCKS[clock]() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def in_own_process(name: str, args: argparse.Namespace) -> tuple[float, float]:
    """The same in a separate process."""
    words = [sys.executable, "-m", "benchmarks.active", "--one", name, "--threads", str(args.threads)]
    words += ["--clock", args.clock, "--images", str(args.images), "--classes", str(args.classes)]
    words += ["--features", str(args.features), "--candidates", str(args.candidates)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr.strip().splitlines()[-1:]}")
    seconds, peak = done.stdout.split()[-2:]
    return float(seconds), float(peak)


def against_whole(size: Size, rounds: int, clock: str) -> str:
    """A line that compares BADGE on whole gradient embeddings with ours.

    Raises:
        RuntimeError: if they choose other images.
    """
    there = seen(size)
    chosen: dict[str, list[int]] = {}

    def ours() -> None:
        np.random.seed(0)
        chosen[OURS] = badge.badge(there, size.candidates).positions

    def whole() -> None:
        np.random.seed(0)
        chosen[WHOLE] = plain_active.badge(there, size.candidates)

    taken: dict[str, list[float]] = {OURS: [], WHOLE: []}
    for _ in tqdm(range(rounds)):
        for side, seconds in in_turn({OURS: ours, WHOLE: whole}, 1, clock).items():
            taken[side] += seconds
    if chosen[OURS] != chosen[WHOLE]:
        raise RuntimeError(f"the sides choose other images: {chosen}")
    theirs, mine = statistics.median(taken[WHOLE]), statistics.median(taken[OURS])
    each = ", ".join(f"{one / two:.1f}" for one, two in zip(taken[WHOLE], taken[OURS]))
    return f"badge, {WHOLE} / ours, {size}: {theirs:.2f} / {mine:.3f} s, ratio {theirs / mine:.1f} (rounds: {each})"


def main(argv: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--features", type=int, default=1024, help="joint width")
    parser.add_argument("--candidates", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison with whole embeddings")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of PyTorch")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    parser.add_argument("--one", choices=tuple(CHOICES), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    size = Size(args.images, args.classes, args.features, args.candidates)
    if args.one:
        print(*measured(args.one, size, args.clock))
        return 0
    print(f"{platform.machine()}, {args.threads} threads, torch {torch.__version__}, {args.clock} time", flush=True)
    for name in CHOICES:
        seconds, peak = in_own_process(name, args)
        asked = f"asked for, of the whole size: {60 * MINUTES} s, {GB} GB"
        print(f"{name}, {size}: {seconds:.1f} s, peak {peak:.2f} GB ({asked})", flush=True)
    print(against_whole(SMALL, args.rounds, args.clock))
    return 0


if __name__ == "__main__":
    sys.exit(main())
