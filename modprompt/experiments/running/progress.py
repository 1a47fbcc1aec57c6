"""Progress: a bar for all runs with the state of those at work; without a terminal a line per event."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from modprompt.data.rounds import FOLDER, known
from modprompt.experiments.running import state
from modprompt.io import folder as run_folder
from modprompt.io.text import one_line

_LEFT_OUT = re.compile(r"\b(?:time|data|lr) \S+(?: \(\S+\))?\s*")  # of what a training says of a step
_BAR = "{percentage:3.0f}% {bar:16} {n_fmt}/{total_fmt} runs, {remaining} left{postfix}"


def of_run(folder: Path) -> str:
    """What a run that was started said last, without what few ask for."""
    if not run_folder.is_held(folder):
        return "waiting to start"
    newest = max((folder / state.CONSOLE, folder / "log.txt"), key=_time_ns)  # for a script's run: the log
    rounds = known(folder / FOLDER)
    told = [f"round {rounds[-1]}"] if rounds else []
    return ", ".join([*told, one_line(_LEFT_OUT.sub("", state.last_line(newest)))[:80] or "starting"])


def _time_ns(path: Path) -> int:
    """When a file was written; 0 if it is not there, or not any more."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


class Screen:
    """The bar of a runner on a terminal, which ends with the runs at work; elsewhere a line per event.

    one_line: the bar ends with the newest number instead, and finished runs have no lines of their own; without a
    terminal there is a line for each tenth of the runs. Failures still have theirs.
    """

    def __init__(self, total: int, done: int, one_line: bool = False):
        from tqdm import tqdm  # late: `experiment status` needs none

        self.live, self.one_line = sys.stderr.isatty(), one_line
        self.total, self.done, self.began = total, done, time.monotonic()
        self.bar = tqdm(total=total, initial=done, disable=not self.live, dynamic_ncols=True, bar_format=_BAR)
        self.bar.smoothing = 0.0  # tests are quick and trainings are not: the mean of all runs so far predicts best

    def event(self, text: str) -> None:
        """Print a line that stays."""
        self.bar.write(text, file=sys.stderr)
        sys.stderr.flush()

    def finished(self, done: int, title: str, came: str) -> None:
        """Show how many runs are finished; the last one's title, and its result, which a narrow line has too."""
        if not self.one_line:
            self.event(f"finished: {title}: {came}")
        elif not self.live and 10 * done // self.total > 10 * self.done // self.total:
            took = self.bar.format_interval(time.monotonic() - self.began)
            self.event(f"{done} of {self.total} runs, {took} elapsed; {title}: {came}")
        self.done = self.bar.n = done
        if self.one_line:
            self.bar.set_postfix_str(f"{came} {title}")

    def show(self, lines: Sequence[str]) -> None:
        """Show the runs at work, as many as fit, and that time goes on."""
        if not self.one_line:
            self.bar.set_postfix_str("; ".join(lines), refresh=False)
        self.bar.refresh()

    def close(self) -> None:
        """Leave the last state of the bar."""
        self.bar.close()
