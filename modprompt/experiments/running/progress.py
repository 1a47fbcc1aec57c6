"""Progress: one live line per run and an overall bar, or one line for all; without a terminal a line per event."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from modprompt.data.rounds import FOLDER, known
from modprompt.experiments.running import state
from modprompt.experiments.running.worker import last_line
from modprompt.io import folder as run_folder
from modprompt.io.text import one_line

_EPOCH = re.compile(r"epoch \[(\d+)/(\d+)\](?:\[| batch \[)(\d+)/(\d+)\]")
_LOSS = re.compile(r"\bloss ([\d.naif+-]+)")
_ETA = re.compile(r"\beta ([\d:]+(?: days?, [\d:]+)?)")
_ONE_LINE = "{percentage:3.0f}% {bar:16} {n_fmt}/{total_fmt} runs, {remaining} left{postfix}"
_ROWS = 8  # lines of running runs that are shown at most


def summary(line: str) -> str:
    """What the last line of a console says about a run's progress."""
    if epoch := _EPOCH.search(line):
        loss, eta = _LOSS.search(line), _ETA.search(line)
        words = [f"epoch {epoch[1]}/{epoch[2]}", f"batch {epoch[3]}/{epoch[4]}"]
        words += [f"loss {loss[1]}"] if loss else []
        return ", ".join(words + ([f"eta {eta[1]}"] if eta else []))
    if line.startswith("Evaluate on the *"):
        return "testing"
    return one_line(line[:60])


def of_run(folder: Path) -> str:
    """Progress of a run that was started."""
    if not run_folder.is_held(folder):
        return "waiting to start"
    newest = max((folder / state.CONSOLE, folder / "log.txt"), key=_time_ns)  # for a script's run: the log
    rounds = known(folder / FOLDER)
    told = [f"round {rounds[-1]}"] if rounds else []
    return ", ".join([*told, summary(last_line(newest)) or "starting"])


def _time_ns(path: Path) -> int:
    """When a file was written; 0 if it is not there, or not any more."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


class Screen:
    """The live lines of a runner on a terminal; elsewhere its events.

    Args:
        total: number of runs.
        done: how many of them are finished.
    """

    def __init__(self, total: int, done: int):
        self.live = sys.stderr.isatty()
        self.bar = tqdm(
            total=total, initial=done, unit="run", desc="all runs", disable=not self.live, dynamic_ncols=True
        )
        self.rows: list[tqdm[Any]] = []

    def event(self, text: str) -> None:
        """Print a line that stays."""
        if self.live:
            tqdm.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def finished(self, done: int, title: str, came: str) -> None:
        """Show how many runs are finished; the last one's title, and its result."""
        self.event(f"finished: {title}: {came}")
        self.bar.n = done
        self.bar.refresh()

    def show(self, lines: Sequence[str]) -> None:
        """Show the live lines."""
        if not self.live:
            return
        lines = list(lines)
        if len(lines) > _ROWS:
            lines[_ROWS - 1 :] = [f"... and {len(lines) - _ROWS + 1} more"]
        while len(self.rows) < len(lines):
            self.rows.append(tqdm(total=0, bar_format="{desc}", position=len(self.rows) + 1, leave=False))
        width = shutil.get_terminal_size().columns - 1
        for row, line in zip(self.rows, [*lines, *[""] * len(self.rows)]):
            row.set_description_str(line[:width])

    def close(self) -> None:
        """Remove the live lines."""
        for row in self.rows:
            row.close()
        self.bar.close()


class OneLine(Screen):
    """One line for all runs: how many are finished, the time left, and the newest number.

    Without a terminal it is a line for each tenth of the runs. Failures still have their own lines.
    """

    def __init__(self, total: int, done: int):
        super().__init__(total, done)
        self.total, self.done, self.began = total, done, time.monotonic()
        self.bar.set_description_str("")
        self.bar.bar_format = _ONE_LINE
        self.bar.smoothing = 0.0  # tests are quick and trainings are not: the mean of all runs so far predicts best

    def finished(self, done: int, title: str, came: str) -> None:
        """Show how many runs are finished; the last one's title, and its result, which a narrow line has too."""
        if not self.live and 10 * done // self.total > 10 * self.done // self.total:
            took = tqdm.format_interval(time.monotonic() - self.began)
            print(f"{done} of {self.total} runs, {took} elapsed; {title}: {came}", file=sys.stderr, flush=True)
        self.done = self.bar.n = done
        self.bar.set_postfix_str(f"{came} {title}")

    def show(self, lines: Sequence[str]) -> None:
        """Refresh the line, whose time goes on."""
        self.bar.refresh()
