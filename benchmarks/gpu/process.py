"""Cases in a separate process, one after the other, each with a time limit; a failing case ends the process."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.measures.losses import CPU
from benchmarks.gpu.ready import release
from benchmarks.gpu.records import Record, Records
from benchmarks.gpu.rows import NOT_RUN, not_run, rows_of
from benchmarks.gpu.task import Found, Place, Task
from modprompt.io.files import write_json
from modprompt.places import ROOT

START_S = 60.0  # of a process, for imports, a CLIP and CUDA
OWN = ("modprompt", "benchmarks", "tests", "trainers", "datasets")  # ours, so never reported as a missing package
_MISSING = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")


def work(one: str) -> None:
    """In the process: run the cases, and write what each found into a file, 0.json, 1.json, ...

    Args:
        one: JSON of [tasks, place, folder].
    """
    tasks, place, folder = json.loads(one)
    for number, task in enumerate(tasks):
        found = _found(Task(**task), Place(**place))
        content = {"rows": [list(row) for row in found.rows], "numbers": found.numbers}
        write_json(Path(folder) / f"{number}.json", content)


def _found(task: Task, place: Place) -> Found:
    from benchmarks.gpu.plan import KINDS

    try:
        return KINDS[task.kind].measure(task, place)
    except torch.cuda.OutOfMemoryError:
        return Found([not_run(task.name, "it is too large for this GPU")], {})
    finally:
        release(place)


def limit(task: Task, place: Place) -> float:
    """Seconds that a case may take after its process has started; longer for a dry run."""
    from benchmarks.gpu.plan import KINDS

    seconds = KINDS[task.kind].limit_s if task.kind in KINDS else START_S
    return float(place.choose(seconds, 5 * seconds))


def run(tasks: Sequence[Task], place: Place, records: Records, over: Callable[[], bool]) -> Iterator[Record]:
    """Run cases, those after a failing one in a new process; yields the record of each as soon as it has ended.

    There are fewer if the time is over before all have ended.

    Args:
        tasks: of one process.
        place: where they run.
        records: they get the facts of these; their output goes into a log next to the first one's record.
        over: whether the time is over and nothing may go on.
    """
    left = list(tasks)
    while left and not over():
        for record in _in_one_process(left, place, records, over):
            left.pop(0)
            yield record


def _in_one_process(tasks: list[Task], place: Place, records: Records, over: Callable[[], bool]) -> Iterator[Record]:
    log = records.path(tasks[0], ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, log.open("w", encoding="utf-8") as output:
        one = json.dumps([[task._asdict() for task in tasks], place._asdict(), folder])
        words = [sys.executable, "-m", "benchmarks.gpu", "--one", one]
        began = time.monotonic()
        # hide GPUs from the CPU's cases: optimisers use one that they see, which starts CUDA during measurements
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if tasks[0].how == CPU else {}
        process = subprocess.Popen(
            words,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, **hidden},
            start_new_session=True,
        )
        try:
            for number, task in enumerate(list(tasks)):
                most = limit(task, place) + (0 if number else START_S)
                content = _wait(process, Path(folder) / f"{number}.json", began + most, over)
                if content is None and process.poll() is None and over():
                    return
                found = content and Found(rows_of(content["rows"]), content["numbers"])
                error = "" if found else _why(log, process.poll(), most)
                yield Record(task, records.facts, found, error, round(time.monotonic() - began, 1))
                if not found:
                    return
                began = time.monotonic()
        finally:
            _end(process)


def _wait(process: subprocess.Popen[bytes], path: Path, ends: float, over: Callable[[], bool]) -> Any:
    """A case's file once it has ended; None if its process, its time or all time ends before."""
    while not path.is_file():
        if process.poll() is not None or time.monotonic() >= ends or over():
            break
        time.sleep(0.05)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children: it leads its own group."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _why(log: Path, code: int | None, most: float) -> str:
    """Why a case found nothing, from its log and exit code."""
    if code is None:
        return f"it had not ended within {most:g} s"
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    missing = _MISSING.match(lines[-1]) if lines else None
    if missing and missing[1].split(".")[0] not in OWN:
        return f"{NOT_RUN}: the package {missing[1]} is missing"
    ending = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{lines[-1][:300]} ({ending})" if lines else ending
