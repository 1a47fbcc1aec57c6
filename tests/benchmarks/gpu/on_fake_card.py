"""Stands for Python where benchmarks.gpu is started and starts others: the same words, on a card that is not there.

Cases are in small sizes. What needs values is told and not judged, and whole runs, which read them all the time, are not
run. A process to which CUDA_VISIBLE_DEVICES shows none has no card, and values.
"""

import contextlib
import ctypes
import os
import runpy
import sys
from unittest import mock

PRELOADED, STAND_IN = "LD_PRELOAD", "MODPROMPT_FAKE_PYTHON"
NOT_HURRIED_S = 600.0  # of a case, whose limit is a GPU's
NO_VALUES = "tensors of a card that is not there have no values"
WHOLE_RUNS = ("tests", "head", "search", "round", "forked", "resume", "at-once")
WITHOUT_VALUES = ("counts",)  # kinds whose rows mean what they say all the same


def script(path):
    """Write the program that is started in Python's place; gives its path."""
    from tests.fake_cuda.building import compiled

    words = f'exec env {PRELOADED}="{compiled()}" {STAND_IN}="$0" "{sys.executable}" -m {__name__} "$@"'
    path.write_text(f"#!/bin/sh\n{words}\n")
    path.chmod(0o755)
    return str(path)


def _found_on(measured):
    """`process._found` on the card: no row holds that needs values."""

    def found(task, place):
        from benchmarks.gpu.rows import HELD, NOT_HELD, TOLD, not_run
        from benchmarks.gpu.task import Found
        from tests.benchmarks.gpu.fake_card import card

        if task.kind in WHOLE_RUNS:
            return Found([not_run(task.name, NO_VALUES)], {})
        with card():
            found = measured(task, place)
        if task.kind in WITHOUT_VALUES:
            return found
        rows = [row._replace(verdict=TOLD) if row.verdict in (HELD, NOT_HELD) else row for row in found.rows]
        return Found(rows, found.numbers)

    return found


def _set_up():
    """From here on this process has the card."""
    import torch

    from benchmarks.gpu import process
    from tests.benchmarks.gpu.fake_card import small

    torch.cuda.is_available = lambda: True
    torch.autograd.set_multithreading_enabled(False)
    process._found = _found_on(process._found)
    process.limit = lambda task, place: NOT_HURRIED_S
    small()


def harness(words, reads):
    """The exit code of benchmarks.gpu, whose cases run in this process, in which tests/fake_cuda/child.py has called.

    Args:
        words: of its command line.
        reads: whether our steps read their loss, which waits.
    """
    _set_up()
    from benchmarks.gpu import __main__ as program
    from benchmarks.gpu import facts, process
    from benchmarks.gpu.records import Record
    from modprompt.engine import precision

    def run(some, place, records, over):
        for task in some:
            yield Record(task, records.facts, process._found(task, place), "", 1.0)

    step = precision.step

    def reading(loss, *more):
        step(loss, *more)
        loss.item()

    others = [
        (process, "run", run),
        (facts, "_said", lambda *_: ""),
        *([(precision, "step", reading)] if reads else []),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, other in others:
            stack.enter_context(mock.patch.object(owner, name, other))
        return program.main(words)


def _start(words):
    """Run Python's words: -c and a program, or -m, a module and its own."""
    sys.executable, sys.argv = os.environ[STAND_IN], words[1:]
    if os.environ["CUDA_VISIBLE_DEVICES"]:
        ctypes.CDLL(os.environ[PRELOADED]).set_guard()  # before torch
        _set_up()
    else:
        from tests.benchmarks.gpu.fake_card import small

        small()
    if words[0] == "-m":
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        return
    from tests.benchmarks.gpu.fake_card import card

    with card():
        exec(words[1], {})


if __name__ == "__main__":
    _start(sys.argv[1:])
