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
from modprompt.cli.fork import fork
from modprompt.cli.imported import Imported
imported = Imported()
why = imported.why_not()
if why:
    sys.exit(f"runs start cold: {why}")
with open(os.path.join(sys.argv[1], "console"), "w+b") as console:
    code = fork("modprompt", ["train", *sys.argv[2:]], os.environ.copy(), console, b"").wait()
    console.seek(0)
    sys.exit(code and console.read().decode(errors="replace").strip().splitlines()[-1])
"""


def _forked(folder: str, words: list[str]) -> str:
    """Fork a run from a process that has imported what runs need; the last line of its error, or ""."""
    words = [sys.executable, "-c", FORKED, folder, *words]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1] if done.returncode else ""


def _run(task: Task, words: list[str], folder: str) -> tuple[str, dict[str, Any]]:
    """(why a run failed, or "", and its result)."""
    if task.kind == "forked":
        error = _forked(folder, words)
    else:
        code = main.run("train", words)
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
