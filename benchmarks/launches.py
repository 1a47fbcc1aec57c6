"""Count the kernel launches and waits of one training step of modprompt and of the official code, without a GPU.

    python -m benchmarks.launches                    counts MPL, MaPLe and CoOp with 5, 50, 200 and 1000 classes
    python -m benchmarks.launches --reference DIR    counts the official code in a checkout of its repository, too
    python -m benchmarks.launches --only MPL --classes 50 --parts    lists operations, forward and backward
    python -m benchmarks.launches --searches         counts searches: a step of the alphas and a step of the prompts
    python -m benchmarks.launches --cast-norms       assumes normalisation weights that half precision cannot represent

The second step is counted, with PREC fp16, batches of 4 images and a CLIP of the size of ViT-B/16. Each operation that
is not a view counts as one launch. Each time that the CPU waits for the GPU counts as one wait. "kept" is the memory
that the forward pass stores for the backward pass. The program needs g++ and the PyTorch version of constraints.txt.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.errors import UserError
from tests.fake_cuda import child

METHODS = ("MPL", "MaPLe", "CoOp")
SEARCHES = ("DPLSearch", "MPL")  # the latter by SEARCH.ON
CLASSES = (5, 50, 200, 1000)
# the official code's, counted in the same way; launches and waits are the same for every number of classes
OFFICIAL_LAUNCHES = {"MPL": 1372, "MaPLe": 1324, "CoOp": 880}
OFFICIAL_WAITS = 7  # two copies of a batch, the loss, and row numbers on the CPU: twice, there and back
OFFICIAL_KEPT_MIB = {("MPL", 5): 305, ("MPL", 50): 963, ("MPL", 1000): 14871, ("MaPLe", 50): 959, ("CoOp", 50): 732}


class Step(NamedTuple):
    """A training step on a GPU.

    forward, backward: launches by operation; the latter with those of the optimiser.
    waits: of the host, by operation.
    kept_mib: what the forward pass keeps for the backward pass.
    """

    forward: dict[str, int]
    backward: dict[str, int]
    waits: dict[str, int]
    kept_mib: float

    @property
    def launches(self) -> int:
        """All of them."""
        return sum(self.forward.values()) + sum(self.backward.values())


def counted(method: str, classes: int, directory: str = "", cast_norms: bool = False) -> Step:
    """A step of ours, or with a checkout's directory of the official code, counted in a separate process.

    With `cast_norms` as for weights of normalisations that half precision cannot hold.

    Raises:
        UserError: if it cannot be counted.
    """
    found: dict[str, Any] = child.run("benchmarks.launch_counts:count", method, classes, directory, cast_norms)
    return Step(**found)


class Alternation(NamedTuple):
    """A step of a search's alphas and one of its prompts: launches of each by operation, and waits of both by name."""

    alphas: dict[str, int]
    prompts: dict[str, int]
    waits: dict[str, int]


def searched(method: str, classes: int) -> Alternation:
    """An alternation of a method's search, counted in a separate process.

    Raises:
        UserError: if it cannot be counted.
    """
    found: dict[str, Any] = child.run("benchmarks.launch_counts:count_search", method, classes)
    return Alternation(**found)


def table_of_searches(classes: Sequence[int]) -> Iterator[str]:
    """Lines of Markdown, each as soon as it is counted."""
    yield "| search | launches, alphas + prompts | waits |"
    yield "| --- | --- | --- |"
    for method in SEARCHES:
        for number in classes:
            found = searched(method, number)
            both = f"{sum(found.alphas.values())} + {sum(found.prompts.values())}"
            yield f"| {method}, {number} classes | {both} | {sum(found.waits.values())} |"


def official(method: str, classes: int, directory: str) -> tuple[int, int, str]:
    """Launches, waits and kept MiB of the official code: counted in its checkout, or the known numbers without one."""
    if directory:
        step = counted(method, classes, directory)
        return step.launches, sum(step.waits.values()), f"{step.kept_mib:.0f}"
    return OFFICIAL_LAUNCHES[method], OFFICIAL_WAITS, str(OFFICIAL_KEPT_MIB.get((method, classes), "not counted"))


def table(
    methods: Sequence[str], classes: Sequence[int], directory: str = "", cast_norms: bool = False
) -> Iterator[str]:
    """Lines of Markdown, each as soon as it is counted."""
    yield "| | launches, ours / official | ratio | waits, ours / official | kept MiB, ours / official |"
    yield "| --- | --- | --- | --- | --- |"
    for method in methods:
        for number in classes:
            ours = counted(method, number, cast_norms=cast_norms)
            launches, waits, kept = official(method, number, directory)
            cells = [f"{ours.launches} / {launches}", f"{ours.launches / launches:.2f}"]
            cells += [f"{sum(ours.waits.values())} / {waits}", f"{ours.kept_mib:.0f} / {kept}"]
            yield f"| {method}, {number} classes | {' | '.join(cells)} |"


def parts(method: str, classes: int, directory: str = "") -> Iterator[str]:
    """Lines of Markdown: the launches of a step by operation, then its waits."""
    step = counted(method, classes, directory)
    yield f"{'official ' if directory else ''}{method}, {classes} classes: {step.launches} launches\n"
    yield "| operation | forward | backward and optimiser |\n| --- | --- | --- |"
    both = {name: (step.forward.get(name, 0), step.backward.get(name, 0)) for name in {*step.forward, *step.backward}}
    for name, (there, back) in sorted(both.items(), key=lambda item: (-sum(item[1]), item[0])):
        yield f"| {name} | {there} | {back} |"
    yield f"| all | {sum(step.forward.values())} | {sum(step.backward.values())} |\n"
    yield "waits: " + (", ".join(f"{name} {number}" for name, number in step.waits.items()) or "none")


def tables(args: argparse.Namespace) -> Iterator[str]:
    """All lines to print."""
    if args.searches:
        yield from table_of_searches(args.classes)
        return
    methods = [args.only] if args.only else METHODS
    if not args.parts:
        yield from table(methods, args.classes, args.reference, args.cast_norms)
        return
    for method in methods:
        for number in args.classes:
            for directory in dict.fromkeys(("", args.reference)):
                yield from parts(method, number, directory)
                yield ""


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", default="", help="a checkout of the official MPL repository")
    parser.add_argument("--only", choices=METHODS, help="count only this method")
    parser.add_argument(
        "--classes", type=int, nargs="+", default=CLASSES, help="numbers of classes (default: 5 50 200 1000)"
    )
    parser.add_argument("--cast-norms", action="store_true", help="also count the casts around normalisation layers")
    parser.add_argument("--searches", action="store_true", help="count searches instead of training steps")
    parser.add_argument("--parts", action="store_true", help="list the launches of each operation")
    args = parser.parse_args(argv)
    if min(args.classes) < 1:
        parser.error(f"--classes {min(args.classes)} is too small: the minimum is 1")
    if args.reference:
        args.reference = str(Path(args.reference).resolve())
    try:
        for line in tables(args):
            print(line, flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
