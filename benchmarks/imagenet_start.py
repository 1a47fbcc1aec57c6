"""A start on ImageNet: seconds and memory until its lists are ready, on a tree of empty files of its size.

Each start is a separate process; only what comes after the imports counts. The tree is in the disk's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SHOTS = 16
REPEATS = 5


class Size(NamedTuple):
    """Numbers of class folders, and of training and test images in each."""

    classes: int = 1000
    train: int = 1281
    test: int = 50


class Start(NamedTuple):
    """Wall time, CPU time and memory of one start after the imports, and the hash of its lists."""

    seconds: float
    processor: float
    megabytes: float
    lists: str


def make_tree(root: Path, size: Size) -> int:
    """Make ROOT/imagenet from empty files, class folders in order, names as ImageNet's; their number."""
    rng = random.Random(0)
    wnids = [f"n{1440764 + 7919 * number:08d}" for number in range(size.classes)]
    folder = root / "imagenet"
    for number, wnid in enumerate(wnids):
        train = [f"{wnid}_{image}.JPEG" for image in rng.sample(range(40 * size.train), size.train)]
        test = [f"ILSVRC2012_val_{number * size.test + image + 1:08d}.JPEG" for image in range(size.test)]
        for part, names in (("train", train), ("val", test)):
            where = folder / "images" / part / wnid
            where.mkdir(parents=True)
            for name in names:
                os.close(os.open(f"{where}/{name}", os.O_CREAT | os.O_WRONLY, 0o644))
    lines = [f"{wnid} class {number}\n" for number, wnid in enumerate(wnids)]
    (folder / "classnames.txt").write_text("".join(lines))
    return size.classes * (size.train + size.test)


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def measure(root: str, seed: int) -> Start:
    """Build the data set in this process, which has not imported anything yet."""
    from modprompt.compat import find

    find.add_to_path()
    from dassl.config import get_cfg_default
    from dassl.data.datasets import build_dataset

    import modprompt.data.readers.all
    import modprompt.trainers.mpl  # noqa: F401 - SUBSAMPLE_CLASSES

    cfg = get_cfg_default()
    cfg.DATASET.NAME, cfg.DATASET.ROOT, cfg.DATASET.NUM_SHOTS, cfg.SEED = "ImageNet", root, SHOTS, seed
    random.seed(seed)
    before, start, worked = _peak_mb(), time.perf_counter(), time.process_time()
    dataset = build_dataset(cfg)
    taken = time.perf_counter() - start, time.process_time() - worked, _peak_mb() - before
    digest = hashlib.sha256(json.dumps(dataset.split_facts).encode())
    for image in (*dataset.train_x, *dataset.test):
        digest.update(f"{os.path.relpath(image.impath, root)} {image.label} {image.classname}\n".encode())
    return Start(*taken, digest.hexdigest()[:12])


def start(root: Path, seed: int) -> Start:
    """`measure` in a separate process."""
    program = "import json, sys; from benchmarks.imagenet_start import measure; "
    program += "print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))"
    words = [sys.executable, "-W", "ignore", "-c", program, str(root), str(seed)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"a start ended with {done.returncode}: {done.stderr[-800:]}")
    return Start(*json.loads(done.stdout.splitlines()[-1]))


def rows(root: Path, size: Size, repeats: int = REPEATS) -> Iterator[str]:
    """Make the tree and measure starts: lines to print.

    Raises:
        RuntimeError: if a start fails, or its lists differ from those of a first start.
    """
    began = time.perf_counter()
    files = make_tree(root, size)
    made = time.perf_counter() - began
    yield f"a tree of {files:,} empty files, made in {made:.0f} s; {SHOTS} shots, beyond imports:"
    first = start(root, 1)
    yield _row("first start: preprocessed.pkl is written", [first])
    later = [start(root, 1) for _ in range(repeats)]
    yield _row("any later start: the family's list and the few-shot list are there", later)
    if {one.lists for one in later} != {first.lists}:
        raise RuntimeError("a later start has other lists than the first")
    yield f"the lists are those of a first start: {first.lists}"


def _row(name: str, starts: list[Start]) -> str:
    seconds = [one.seconds for one in starts]
    of = f" of {', '.join(f'{s:.2f}' for s in seconds)}" if len(seconds) > 1 else ""
    processor = statistics.median(one.processor for one in starts)
    megabytes = max(one.megabytes for one in starts)
    return f"  {name}: {statistics.median(seconds):.2f} s{of} ({processor:.2f} s of a processor), {megabytes:.0f} MB"
