"""Twenty processes that start at the same moment: on fresh data, in one output folder, on one experiment."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.experiments.running import run as runner
from tests.campaign import kills
from tests.campaign.figures import Figure
from tests.campaign.kills_splits import facts_of_reading, few_digits, make, reading, sort_listings
from tests.campaign.kills_training import MPL
from tests.campaign.runs import prepare_experiment, results
from tests.modprompt.experiments import kills as experiments

PROCESSES = 20
LIMIT_S = 300
READERS = ("eurosat", "oxford_pets", "imagenet", "image_folder", "digits")
BUSY = "another run is at work in"


class Ended(NamedTuple):
    """How a process ended, and what it wrote to its streams."""

    code: int
    said: str


def at_once(work: Callable[[], Any], folder: Path, processes: int) -> list[Ended]:
    """Fork; all children do `work` at the same moment; its answer, if it is a number, is the exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    barrier = multiprocessing.get_context("fork").Barrier(processes)
    children = []
    for number in range(processes):
        child = os.fork()
        if not child:
            _work(work, barrier, folder / f"{number}.txt")
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return [Ended(code, (folder / f"{number}.txt").read_text(errors="replace")) for number, code in enumerate(codes)]


def _work(work: Callable[[], Any], barrier: Any, said: Path) -> None:
    """In a child; it does not return."""
    code = 1
    try:
        with said.open("w", buffering=1) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                signal.alarm(LIMIT_S)
                barrier.wait(60)
                code = int(work() or 0)
    except BaseException as error:
        said.write_text(f"Traceback of {type(error).__name__}: {error}")
    finally:
        os._exit(code)


def _count(figure: Figure, ended: list[Ended], what: str, fine: Callable[[Ended], str], start: float) -> None:
    """Count each process; `fine` says in a word how it ended well, or nothing."""
    for one in ended:
        word = "" if "Traceback" in one.said else fine(one)
        last = "".join(one.said.strip().splitlines()[-1:])[:200]
        fault = "" if word else f"{len(ended)} processes {what}: one ended with {one.code}: {last}"
        figure.add(word or "failed", time.monotonic() - start, fault)


def _on_fresh_data(scratch: Path, processes: int) -> Figure:
    figure = Figure("processes at once on fresh data")
    for reader in READERS:
        name = make(reader, scratch / reader)
        alone = kills.fresh(scratch / reader, scratch / "alone")
        read = reading(name)
        read(alone)
        shared, start = kills.fresh(scratch / reader, scratch / "shared"), time.monotonic()
        ended = at_once(functools.partial(read, shared), scratch / f"said-{reader}", processes)
        _count(figure, ended, f"on fresh {reader}", lambda one: "" if one.code else "read the same lists", start)
        facts = facts_of_reading(name)
        if facts(shared) != facts(alone):
            figure.faults.append(f"{processes} processes on fresh {reader}: other lists or files than those of one")
    return figure


def _in_one_folder(scratch: Path, processes: int) -> Figure:
    figure, tree = Figure("trainings at once in one folder"), kills.prepare(scratch)
    alone, shared = kills.fresh(tree, scratch / "alone"), kills.fresh(tree, scratch / "shared")
    kills.trained("MPL", MPL)(alone)
    start = time.monotonic()
    ended = at_once(lambda: kills.train_in(shared, "MPL", MPL, "--once", quiet=False), scratch / "said", processes)

    def word(one: Ended) -> str:
        if one.code == 0:
            return "found it finished" if "Finished before" in one.said else "trained"
        return "found another at work" if one.code == 2 and BUSY in one.said else ""

    _count(figure, ended, "with --once in one folder", word, start)
    if figure.outcomes["trained"] != 1:
        figure.faults.append(f"trainings at once: {figure.outcomes['trained']} of {processes} trained")
    found, expected = kills.facts_of_run(shared), kills.facts_of_run(alone)
    if found != expected:
        figure.faults.append(f"trainings at once: {kills.differing(found, expected)}")
    return figure


def _on_one_experiment(scratch: Path, processes: int) -> Figure:
    figure = Figure("runners at once on one experiment")
    name, words = prepare_experiment(scratch, epochs=2)
    alone, shared = scratch / "alone-runs", scratch / "shared-runs"
    with kills.silent():
        assert experiments.start(name, alone, *words).wait() == 0, (alone / "runner.txt").read_text()[-500:]
    start = time.monotonic()
    ended = at_once(lambda: runner.main([name, "--out", str(shared), *words]), scratch / "runners", processes)
    _count(figure, ended, "on one experiment", lambda one: "" if one.code else "ended with all runs finished", start)
    again = [str(path.relative_to(shared)) for path in shared.rglob("log.txt-*")]
    if again:
        figure.faults.append(f"runners at once: runs were run twice: {again[:3]}")
    if results(alone) != results(shared) or experiments.report(name, alone, *words[:2]) != experiments.report(
        name, shared, *words[:2]
    ):
        figure.faults.append("runners at once: another report than that of one runner")
    return figure


def run(scratch: Path, seed: int, share: float) -> list[Figure]:
    """All three; a share takes fewer processes."""
    processes = max(3, round(share * PROCESSES))
    sort_listings()
    few_digits()
    figures = []
    for part in (_on_fresh_data, _in_one_folder, _on_one_experiment):
        folder = scratch / part.__name__.strip("_")
        folder.mkdir()
        figures.append(part(folder, processes))
        shutil.rmtree(folder, ignore_errors=True)
    return figures
