"""A training step of MPL with a GELU CLIP against the same step with a QuickGELU CLIP, and their feed-forward parts.

    python -m benchmarks.gelu                       float32, five rounds of both sides in turn
    python -m benchmarks.gelu --precision bf16
    python -m benchmarks.gelu --clock cpu --threads 1    for a machine that others use as well

Same weights, same engine, ViT-B/16's size. The sides alternate step by step, since machines slow down and speed up.
`--clock cpu` counts the time that this process had a core; with more than one thread that includes waiting.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import cast

import torch
from tqdm import tqdm

from benchmarks.cases import Case, stepper, vit_b16
from modprompt.clip.known import GELU, QUICK_GELU
from modprompt.clip.towers import VisionTransformer
from modprompt.engine.blocks import feed_forward

MOST = 1.03  # the largest ratio of a training step
TOKENS = 4 * (197 + 9)  # of a batch of images, prompts included
CALLS = 50  # of a feed-forward part in a round, since they are short
Sides = Mapping[str, Callable[[], object]]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def in_turn(sides: Sides, count: int, clock: str) -> dict[str, list[float]]:
    """Seconds of `count` calls of each side, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(count):
        for name in list(sides) if number % 2 else reversed(list(sides)):  # neither is always the second
            start = CLOCKS[clock]()
            sides[name]()
            seconds[name].append(CLOCKS[clock]() - start)
    return seconds


def compare(what: str, sides: Sides, rounds: int, count: int, clock: str) -> str:
    """A line that compares GELU with QuickGELU: medians, their ratio, and the ratio in each round."""
    for run in sides.values():
        run()  # the first is slower
    everything: dict[str, list[float]] = {name: [] for name in sides}
    ratios = []
    for _ in tqdm(range(rounds), desc=what):
        found = in_turn(sides, count, clock)
        ratios.append(statistics.median(found[GELU]) / statistics.median(found[QUICK_GELU]))
        for name, seconds in found.items():
            everything[name] += seconds
    gelu, quick = (statistics.median(everything[name]) for name in (GELU, QUICK_GELU))
    each = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    return (
        f"{what}: GELU {1000 * gelu:.2f} ms, QuickGELU {1000 * quick:.2f} ms, ratio {gelu / quick:.3f} (rounds: {each})"
    )


def feed_forwards(precision: str, backward: bool) -> Sides:
    """The feed-forward part of an image layer, by activation: forward, or forward and backward."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    x = torch.randn(TOKENS, 768).requires_grad_(backward)

    def side(activation: str) -> Callable[[], object]:
        block = cast(VisionTransformer, vit_b16(activation).visual).transformer.resblocks[0]
        block.mlp.to(kind)

        def run() -> None:
            out = feed_forward(block, x)
            if backward:
                torch.autograd.grad(out, x, out.detach())

        return run

    return {name: side(name) for name in (GELU, QUICK_GELU)}


def main(argv: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=9, help="of each side in a round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of PyTorch")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    steps = {name: stepper(Case("ours", precision=args.precision, activation=name)) for name in (GELU, QUICK_GELU)}
    lines = [
        f"{platform.machine()}, {args.threads} threads, torch {torch.__version__}, {args.precision}, {args.clock} time",
        compare(f"training step, at most {MOST}", steps, args.rounds, args.steps, args.clock),
    ]
    for what, backward in (("forward", False), ("forward and backward", True)):
        sides = feed_forwards(args.precision, backward)
        lines.append(compare(f"feed-forward part, {TOKENS} x 768, {what}", sides, args.rounds, CALLS, args.clock))
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
