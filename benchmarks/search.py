"""Compare a step of the search of DPL with the published implementation, which computes one attention per option.

    python -m benchmarks.search                    50 classes, options of 0 to 6 tokens, batches of 4
    python -m benchmarks.search --clock cpu --threads 1    for a machine that also runs other programs

A search step consists of a step of the alphas on a validation batch and a step of the prompts on a training batch. Both
implementations use the same random weights of the size of ViT-B/16. They alternate in one process. Peak memory is
measured in a separate process for each implementation.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

import modprompt
from benchmarks.cases import class_names, vit_b16
from benchmarks.pairs import CLOCKS, in_turn
from benchmarks.plain_search import PlainSearch
from modprompt.clip.towers import CLIP
from modprompt.engine.memory import keep_freed_memory
from modprompt.methods.search.learners import OptionsPromptLearner

OURS, PLAIN = "ours", "plain"
LEAST = 3.0  # least ratio, at 50 classes and 6 tokens on a CPU
BATCH, SIZE = 4, 224  # images of a batch, and their pixels a side
Step = Callable[[], None]


def stepper(side: str, clip_model: CLIP, classes: int, most: int) -> Step:
    """A function that makes one search step of a side, with options of 0 to `most` tokens."""
    torch.manual_seed(0)
    names = class_names(classes)
    model = modprompt.DPLSearch(n_ctx_text=most, n_ctx_vision=most).on(clip_model, names)
    logits_of: Callable[[Tensor], Tensor] = model
    if side == PLAIN:
        logits_of = PlainSearch(cast(OptionsPromptLearner, model.prompt_learner), clip_model, names)
    prompts = torch.optim.SGD(model.prompt_parameters(), lr=0.0035, momentum=0.9, weight_decay=5e-4)
    alphas = torch.optim.Adam(model.alpha_parameters(), lr=0.0035, betas=(0.5, 0.999))
    images, labels = torch.randn(2, BATCH, 3, SIZE, SIZE), torch.arange(BATCH) % classes

    def step() -> None:
        for optimiser, batch in zip((alphas, prompts), images):
            loss = F.cross_entropy(logits_of(batch), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return step


def peak_gib(side: str, args: argparse.Namespace) -> float:
    """Peak memory of a process that makes one search step of a side."""
    words = [sys.executable, "-m", "benchmarks.search", "--one", side, "--threads", str(args.threads)]
    words += ["--classes", str(args.classes), "--options", str(args.options)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    if done.returncode:
        last_line = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise RuntimeError(f"The measurement of {side} failed: {last_line}")
    return float(done.stdout.splitlines()[-1])


def seconds(steps: Mapping[str, Step], rounds: int, clock: str) -> dict[str, list[float]]:
    """Seconds of each side's steps, in turn, after one step of each that does not count."""
    for step in steps.values():
        step()
    found: dict[str, list[float]] = {side: [] for side in steps}
    for number in tqdm(range(rounds)):
        turn = dict(reversed(list(steps.items()))) if number % 2 else steps  # neither is always the second
        for side, measured in in_turn(turn, 1, clock).items():
            found[side] += measured
    return found


def lines(taken: Mapping[str, list[float]], memory: Mapping[str, float]) -> list[str]:
    """A line for every side against ours, with the ratio in each round."""
    found = []
    for side in [side for side in taken if side != OURS]:
        theirs, mine = statistics.median(taken[side]), statistics.median(taken[OURS])
        each = ", ".join(f"{one / two:.2f}" for one, two in zip(taken[side], taken[OURS]))
        line = f"search step, {side} / ours: {theirs:.2f} / {mine:.2f} s, ratio {theirs / mine:.2f} (rounds: {each})"
        ratio = memory[side] / memory[OURS]
        line += f"; peak memory {memory[side]:.2f} / {memory[OURS]:.2f} GiB, ratio {ratio:.2f}"
        found.append(line + (f"; asked for, in time: {LEAST}" if side == PLAIN else ""))
    return found


def main(argv: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=50, help="number of classes (default: 50)")
    parser.add_argument("--options", type=int, default=6, help="largest number of tokens of an option (default: 6)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured (default: 3)")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="number of PyTorch threads (default: %(default)s)"
    )
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="clock to use (default: wall)")
    parser.add_argument("--one", choices=(OURS, PLAIN), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    if args.one:
        stepper(args.one, vit_b16(), args.classes, args.options)()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
        return 0
    sides = [OURS, PLAIN]
    memory = {side: peak_gib(side, args) for side in sides}  # first: a process's peak begins with that of its parent
    clip_model = vit_b16()
    steps = {side: stepper(side, clip_model, args.classes, args.options) for side in sides}
    taken = seconds(steps, args.rounds, args.clock)
    head = f"{platform.machine()}, {args.threads} threads, torch {torch.__version__}, {args.clock} time"
    print("\n".join([f"{head}, {args.classes} classes, options of 0 to {args.options} tokens"] + lines(taken, memory)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
