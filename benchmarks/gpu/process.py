"""A case in a process of its own, which is stopped with all that it has started when its time is over."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Optional

from benchmarks.gpu.records import Record, Records
from benchmarks.gpu.task import Found, Place, Task, rows_of
from modprompt.places import ROOT
from modprompt.storage.text import write_json


def work(one: str) -> None:
    """In the process: run the case, and leave what it found in the file that is named.

    Args:
        one: JSON of [task, place, path].
    """
    from benchmarks.gpu.plan import KINDS

    task, place, path = json.loads(one)
    found = KINDS[task["kind"]](Task(**task), Place(**place))
    write_json(path, {"rows": [list(row) for row in found.rows], "numbers": found.numbers})


def run(task: Task, place: Place, records: Records, seconds: float) -> Optional[Record]:
    """Run a case; what it prints goes to a log beside its record. None if its time was over before it had ended."""
    log = records.path(task, ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name, log.open("w", encoding="utf-8") as output:
        path = Path(name) / "found.json"
        one = json.dumps([task._asdict(), place._asdict(), str(path)])
        words = [sys.executable, "-m", "benchmarks.gpu", "--one", one]
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)
        content: Any = json.loads(path.read_text(encoding="utf-8")) if code == 0 and path.is_file() else None
    found = content and Found(rows_of(content["rows"]), content["numbers"])
    error = "" if found else _last_line(log, code)
    return Record(task, records.facts, found, error, round(time.monotonic() - began, 1))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children: it leads a group of its own."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _last_line(log: Path, code: int) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    ending = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{lines[-1][:300]} ({ending})" if lines else ending
