"""Whole runs on the digits with the embedded CLIP: a head, a search, a round, a run of a worker that forks."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.rows import Row, holds
from benchmarks.gpu.task import Found, Place, Task
from modprompt.cli import main
from modprompt.places import ROOT

NODES = {"TipAdapterF": "TIPADAPTER", "DPLSearch": "DPLSEARCH", "MPL": "MPL"}
MORE = {
    "head": ("DATASET.NUM_SHOTS", "4"),
    "search": ("DATASET.NUM_SHOTS", "4", "OPTIM.MAX_EPOCH", "1"),
    "round": ("ACTIVE.METHOD", "badge", "ACTIVE.PCB", "True", "ACTIVE.ROUNDS", "2", "OPTIM.MAX_EPOCH", "1"),
    "forked": ("DATASET.NUM_SHOTS", "4", "OPTIM.MAX_EPOCH", "1"),
}
FORKED = """
import os, sys
from pathlib import Path
from modprompt import places
from modprompt.experiments.running.forked import forked
console, words = Path(sys.argv[1], "console"), places.program("train", *sys.argv[2:])
child = forked(words, {**os.environ, **places.environment()}, console, sorted(os.sched_getaffinity(0)))
child.join()
sys.exit(child.exitcode and console.read_text(errors="replace").strip().splitlines()[-1])
"""


def _forked(folder: str, words: list[str]) -> str:
    """Fork a run from a server that has imported what runs need; the last line of its error, or ""."""
    words = [sys.executable, "-c", FORKED, folder, *words]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    said = done.stderr.strip().splitlines()
    not_forked = [line for line in said if line.startswith("note: each run starts with its own imports")]
    return (not_forked or said[-1:] or [f"exit code {done.returncode}"])[0] if done.returncode or not_forked else ""


def _run(task: Task, words: list[str], folder: str) -> tuple[str, dict[str, Any]]:
    """(why a run failed, or "", and its result)."""
    if task.kind == "forked":
        error = _forked(folder, words)
    else:
        code = main.main(["train", *words])
        error = f"exit code {code}" if code else ""
    paths = sorted(Path(folder).rglob("result.json"))
    return error, json.loads(paths[-1].read_text(encoding="utf-8")) if paths else {}


def measure(task: Task, place: Place) -> Found:
    """Whether it ends well with an accuracy above chance."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--trainer", task.method, "--seed", "1", "--output-dir", str(Path(folder) / "run")]
        words += [f"TRAINER.{NODES[task.method]}.PREC", task.precision, *MORE[task.kind]]
        began = time.perf_counter()
        error, result = _run(task, words, folder)
        seconds = time.perf_counter() - began
    accuracy = result.get("accuracy_pct")
    held = not error and accuracy is not None and accuracy > 100 / task.classes
    said = error or (f"{accuracy:.1f}%" if accuracy is not None else "no accuracy")
    row: Row = holds(
        f"a run, {task.kind}, {task.method}, {task.precision}: it ends, better than chance",
        f"> {100 / task.classes:g}%",
        said,
        held,
        f"{seconds:.1f} s; the digits and glyph-clip",
    )
    return Found([row], {"seconds": seconds, "error": error, "accuracy_pct": accuracy})
