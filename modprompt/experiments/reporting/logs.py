"""Results out of the log files of CoOp-family codebases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_FIELD = re.compile(r"^\* (total|correct|accuracy): ([\d,.]+)")


class LogResult(NamedTuple):
    """Accuracy of a finished run in percent, or None and the reason why there is none."""

    accuracy_pct: float | None
    reason: str = ""


def newest_log(folder: Path) -> Path | None:
    """The log of the last start of a run: log.txt, or a neighbour with the time behind its name."""
    logs = [path for path in folder.glob("log.txt*") if path.is_file()]
    return max(logs, key=lambda path: (path.stat().st_mtime, path.name), default=None)


def read_log(path: Path) -> LogResult:
    """The last result in a log; one of a training run counts only behind its "Finish training"."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    trained = any(line.startswith("epoch [") for line in lines)
    finished = not trained
    fields: dict[str, float] = {}
    for line in lines:
        if line.startswith(("Finish training", "Finished training")):
            finished, fields = True, {}
        elif line.startswith("=> result"):
            fields = {}
        elif match := _FIELD.match(line):
            try:
                fields[match.group(1)] = float(match.group(2).replace(",", "").rstrip("."))
            except ValueError:
                return LogResult(None, f"damaged log ({line.strip()[:60]})")
    if not finished or "accuracy" not in fields:
        last = next((line for line in reversed(lines) if line.strip()), "empty log")
        return LogResult(None, f"unfinished ({last.strip()[:80]})")
    accuracy = fields["accuracy"]
    if fields.get("total") and "correct" in fields:  # the log rounds the accuracy; these two numbers are exact
        accuracy = 100 * fields["correct"] / fields["total"]
    if not 0 <= accuracy <= 100:
        return LogResult(None, f"damaged log (accuracy {accuracy:g}%)")
    return LogResult(accuracy)


def read_run(folder: Path) -> LogResult:
    """The result of a run's output folder."""
    if not folder.is_dir():
        return LogResult(None, "missing")
    log = newest_log(folder)
    return read_log(log) if log else LogResult(None, "missing (no log)")
