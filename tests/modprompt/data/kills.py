"""Readers that are killed at every operation that changes the disk, and read again, in a process of their own.

    python -m tests.modprompt.data.kills SCRATCH MODULE...     prints {module: [number of kills, [fault, ...]]} as JSON

Each kill is one of a child that ends at once, as by SIGKILL, in front of its k-th opening for writing, renaming,
removing or making of a folder. Then other runs start on what it left, in two orders.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Sequence

from tests.conftest import ROOT
from tests.killing import KILLED, in_child
from tests.modprompt.data import trees

MANY = 60  # points from which on not all are taken, nor both orders
RUNS = ((2, 4), (1, 2), (2, 1))  # seed, shots


def kill_points(scratch, *modules: str) -> dict[str, tuple[int, list[str]]]:
    """For each module how many kills there were, and what was wrong after them."""
    words = [sys.executable, "-W", "ignore", "-m", "tests.modprompt.data.kills", str(scratch), *modules]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return {module: tuple(found) for module, found in json.loads(done.stdout.splitlines()[-1]).items()}


def _make(module: str, root: Path) -> str:
    root.mkdir()
    if module == "image_folder":
        trees.pictures(root, {"cat": 13, "dog": 9, "owl": 7})
        return "ImageFolder"
    if module == "digits":
        return "Digits"
    make, name, *_ = trees.DATA_SETS[module]
    make(root)
    return name


def _lists(name: str, root: Path, seed: int, shots: int) -> list:
    from tests.modprompt.data.test_readers import facts, read

    dataset = read(name, root, shots, seed=seed)
    return [facts(items, root) for items in (dataset.train_x, dataset.val, dataset.test)]


def _campaign(module: str, scratch: Path) -> tuple[int, list[str]]:
    scratch.mkdir()
    name = _make(module, scratch / "whole")
    shutil.copytree(scratch / "whole", scratch / "clean")
    _lists(name, scratch / "clean", 1, -1)  # makes the split
    clean = {run: _lists(name, scratch / "clean", *run) for run in RUNS}

    def killed(root, kill_at):
        return in_child(lambda: _lists(name, root, *RUNS[0]), kill_at, scratch / "counted")

    shutil.copytree(scratch / "whole", scratch / "counting")
    assert killed(scratch / "counting", 0) == 0
    total = int((scratch / "counted").read_text())
    points: Sequence[int] = range(1, total + 1)
    orders = [RUNS, RUNS[::-1]]
    if total > MANY:
        points, orders = sorted({1, 2, 3, total // 2, *points[-5:]}), orders[1:]
    faults = []
    for point in points:
        for order in orders:
            root = scratch / "now"
            shutil.copytree(scratch / "whole", root)
            if killed(root, point) != KILLED:
                faults.append(f"point {point} was not reached")
            for run in order:
                if _lists(name, root, *run) != clean[run]:
                    faults.append(f"point {point}, seed {run[0]}, {run[1]} shots: other lists")
            left = [path.name for path in root.rglob("*.part")]
            faults += [f"point {point}: left {left}"] if left else []
            shutil.rmtree(root)
    return len(orders) * len(points), faults


def main(argv: list[str]) -> None:
    """Print the figures."""
    from tests.modprompt.data.test_readers import sorted_listing

    for name in ("splits", "images"):
        vars(sys.modules[f"modprompt.data.{name}"]).update(listdir_nohidden=sorted_listing)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        found = {module: _campaign(module, Path(argv[0]) / module) for module in argv[1:]}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
