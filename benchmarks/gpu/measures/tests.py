"""tests/card: the tests that need real values."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from benchmarks.gpu.rows import holds, not_run
from benchmarks.gpu.task import Found, Place, Task
from modprompt.places import ROOT

FIGURE = "tests/card"
NEEDED = ("pytest", "pytest_timeout", "hypothesis", "sklearn")


def measure(task: Task, place: Place) -> Found:
    """Run them; what they print goes to the log."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return Found([not_run(FIGURE, f"the package {missing[0]} is missing")], {})
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/card", *place.choose(["--card"], [])]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd=ROOT)
    print(done.stdout)
    lines = [line for line in done.stdout.splitlines() if " in " in line] or [f"exit code {done.returncode}"]
    said = lines[-1].strip("= ")
    held = done.returncode == 0 and "passed" in said and "skipped" not in said
    return Found([holds(FIGURE, "all pass", said, held, judged=not place.dry_run)], {"code": done.returncode})
