"""Measure the seconds and the peak memory of every acquisition function, each in a separate process.

    python -m benchmarks.active                                       selects 5,000 of 50,000 images
    python -m benchmarks.active --images 1280000 --wanted 1000        has the size of ImageNet: one label per class

The features and probabilities are random, with 1,000 classes and the feature width of RN50. One image of each class has
a label.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

from modprompt.active import selection  # noqa: F401 - it knows the acquisitions
from modprompt.active.acquisition import FEATURES, PROBABILITIES, Acquisition, Seen, find, rows_of
from modprompt.data.rounds import METHODS


def made_up(acquisition: Acquisition, args: argparse.Namespace) -> Seen:
    """The random matrices that an acquisition needs: a block of rows again and again, its columns in turn."""
    torch.manual_seed(0)
    classes, made = args.classes, {}
    for name, width in ((FEATURES, args.width), (PROBABILITIES, classes)):
        made[name] = matrix = torch.empty(args.images + classes, width if name in acquisition.needs else 0)
        many = min(len(matrix), rows_of(matrix))
        drawn = torch.randn(many if matrix.shape[1] else 0, width)
        drawn = F.normalize(drawn) if name == FEATURES else drawn.mul_(3).softmax(dim=1)
        for turn, rows in enumerate(matrix.split(many) if len(drawn) else ()):
            rows.copy_(drawn[: len(rows)].roll(turn, dims=1))
    features, p = made[FEATURES], made[PROBABILITIES]
    if p.shape[1]:
        largest, predicted = p[classes:].max(dim=1)
    else:
        largest, predicted = torch.rand(args.images), torch.randint(classes, (args.images,))
    text, labels = F.normalize(torch.randn(classes, args.width)), torch.arange(classes)
    return Seen(features[classes:], p[classes:], features[:classes], p[:classes], labels, text, 32, predicted, largest)


def measured(method: str, args: argparse.Namespace) -> str:
    """A line on an acquisition in this process."""
    acquisition = find(method)
    seen = made_up(acquisition, args)
    start = time.perf_counter()
    acquisition.choose(seen, args.wanted)
    taken_s, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return f"{method}: {taken_s:.1f} s, peak {peak / 1e9:.2f} GB"


def main(argv: list[str] | None = None) -> int:
    """Print a line for each acquisition."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000, help="number of unlabelled images (default: 50000)")
    parser.add_argument("--classes", type=int, default=1000, help="number of classes (default: 1000)")
    parser.add_argument("--width", type=int, default=1024, help="width of the image features (default: 1024)")
    parser.add_argument("--wanted", type=int, default=5000, help="number of images to select (default: 5000)")
    parser.add_argument("--only", choices=METHODS, help="measure only this acquisition function, in this process")
    args = parser.parse_args(argv)
    if args.only:
        print(measured(args.only, args))
        return 0
    print(f"{args.wanted:,} of {args.images:,} images, {args.classes:,} classes, {args.width:,} features", flush=True)
    words = argv if argv is not None else sys.argv[1:]
    codes = [
        subprocess.call([sys.executable, "-m", "benchmarks.active", *words, "--only", method]) for method in METHODS
    ]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
