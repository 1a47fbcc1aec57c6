"""Processes that read a data set at the same moment, forked in a process of their own: what the tests' process has of
threads, signal handlers and locks is not theirs.

    python -m tests.modprompt.data.at_once EuroSAT ROOT SHOTS PROCESSES     prints the lists of each as JSON
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from multiprocessing.synchronize import Barrier

from tests.conftest import ROOT


def lists_at_once(name: str, root, shots: int, processes: int) -> list[list]:
    """[train, val, test] of each process; an item is [path, label, class name]."""
    words = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.modprompt.data.at_once",
        name,
        str(root),
        str(shots),
        str(processes),
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


_barrier: Barrier  # in each process


def _start_with(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _read(name: str, root: str, shots: int) -> list:
    from tests.modprompt.data.test_readers import facts, read, sorted_listing

    for module in ("splits", "images"):
        vars(sys.modules[f"modprompt.data.{module}"]).update(listdir_nohidden=sorted_listing)
    _barrier.wait(60)
    dataset = read(name, root, shots, seed=1)
    return [facts(items, root) for items in (dataset.train_x, dataset.val, dataset.test)]


def main(argv: list[str]) -> None:
    """Print the lists."""
    import tests.modprompt.data.test_readers  # noqa: F401 - once for all of them

    name, root, shots, processes = argv[0], argv[1], int(argv[2]), int(argv[3])
    context = multiprocessing.get_context("fork")
    with context.Pool(processes, _start_with, [context.Barrier(processes)]) as pool:
        print(json.dumps(pool.starmap(_read, [(name, root, shots)] * processes, chunksize=1)))


if __name__ == "__main__":
    main(sys.argv[1:])
