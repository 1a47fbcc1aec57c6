"""Kernel launches and waits of one training step, ours beside the official code's, counted without a card.

    python -m benchmarks.launches                    MPL, MaPLe and CoOp at 5, 50, 200 and 1000 classes
    python -m benchmarks.launches --only MPL --classes 50
    python -m benchmarks.launches --only MPL --classes 50 --parts     by operation, forward and backward

PREC fp16, batch 4, a CLIP of ViT-B/16's size, the second step. A dispatched operation that is no view counts as one
launch; what the host waits for as one wait; kept is what the forward pass leaves for the backward pass. It takes g++ and
the PyTorch of constraints.txt.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, Iterator, Sequence

from modprompt.programs import left_as_found
from tests.fake_cuda import child

METHODS = ("MPL", "MaPLe", "CoOp")
CLASSES = (5, 50, 200, 1000)
# of the official code, counted in the same way; launches and waits are the same at every number of classes
OFFICIAL_LAUNCHES = {"MPL": 1372, "MaPLe": 1324, "CoOp": 880}
OFFICIAL_WAITS = 5  # three, and two copies of numbers that stand on the CPU
OFFICIAL_KEPT_MIB = {("MPL", 5): 305, ("MPL", 50): 963, ("MPL", 1000): 14871, ("MaPLe", 50): 959, ("CoOp", 50): 732}


def counts(method: str, classes: int) -> dict[str, Any]:
    """Our step, counted in a process of its own: `forward`, `backward` and `waits` by name, and `kept_mib`.

    Raises:
        UserError: where it cannot be counted.
    """
    found: dict[str, Any] = child.run("benchmarks.launch_counts:count", method, classes)
    return found


def launches(found: dict[str, Any]) -> int:
    """All launches of a step."""
    total: int = sum(found["forward"].values()) + sum(found["backward"].values())
    return total


def table(methods: Sequence[str], classes: Sequence[int]) -> Iterator[str]:
    """Lines of Markdown, one at a time as they are counted."""
    yield "| | launches, ours / official | ratio | waits, ours / official | kept MiB, ours / official |"
    yield "| --- | --- | --- | --- | --- |"
    for method in methods:
        for number in classes:
            found, official = counts(method, number), OFFICIAL_LAUNCHES[method]
            own, waits = launches(found), sum(found["waits"].values())
            kept = f"{found['kept_mib']:.0f} / {OFFICIAL_KEPT_MIB.get((method, number), '')}"
            cells = [f"{own} / {official}", f"{own / official:.2f}", f"{waits} / {OFFICIAL_WAITS}", kept]
            yield f"| {method}, {number} classes | {' | '.join(cells)} |"


def parts(method: str, classes: int) -> Iterator[str]:
    """Lines of Markdown: the launches of a step by operation, then its waits."""
    found = counts(method, classes)
    forward, backward = found["forward"], found["backward"]
    yield f"{method}, {classes} classes: {launches(found)} launches\n"
    yield "| operation | forward | backward and optimiser |\n| --- | --- | --- |"
    for name in sorted({*forward, *backward}, key=lambda name: -forward.get(name, 0) - backward.get(name, 0)):
        yield f"| {name} | {forward.get(name, 0)} | {backward.get(name, 0)} |"
    yield f"| all | {sum(forward.values())} | {sum(backward.values())} |\n"
    yield "waits: " + (", ".join(f"{name} {number}" for name, number in found["waits"].items()) or "none")


@left_as_found()
def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=METHODS, help="one method")
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES, help="numbers of classes")
    parser.add_argument("--parts", action="store_true", help="launches by operation")
    args = parser.parse_args(argv)
    methods = [args.only] if args.only else METHODS
    tables = [parts(method, number) for method in methods for number in args.classes]
    for lines in tables if args.parts else [table(methods, args.classes)]:
        for line in lines:
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
