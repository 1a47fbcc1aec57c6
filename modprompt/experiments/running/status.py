"""Print the state of the runs of an experiment. No run is started or changed.

    modprompt experiment status base2new

FILE is the path of an experiment file, or the name of a file in configs/experiments.
"""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from modprompt.checks import counted
from modprompt.data.rounds import FOLDER, known
from modprompt.experiments.plan import arguments, protocols
from modprompt.experiments.plan.experiment import Job
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.running import state
from modprompt.io import folder as run_folder
from modprompt.io.text import one_line
from modprompt.programs import Parser, report

_LEFT_OUT = re.compile(r"\b(?:time|data|lr) \S+(?: \(\S+\))?\s*")  # parts of the progress line of a training
_BAR = "{percentage:3.0f}% {bar:16} {n_fmt}/{total_fmt} runs, {remaining} left{postfix}"


def of_run(folder: Path) -> str:
    """Return the last line that a running run printed, without times and the learning rate."""
    if not run_folder.is_held(folder):
        return "waiting to start"
    console, log = folder / state.CONSOLE, folder / "log.txt"
    rounds = known(folder / FOLDER)
    newest_round = [f"round {rounds[-1]}"] if rounds else []
    line = state.last_line(console if console.exists() else log)  # a run of a script has only a log
    return ", ".join([*newest_round, one_line(_LEFT_OUT.sub("", line))[:80] or "starting"])


class Screen:
    """The progress of all runs: a bar with the active runs on a terminal, else a line for each event.

    Args:
        total: the number of runs.
        done: the number of finished runs.
        one_line: whether the bar shows the newest result instead of the active runs, and finished runs have no lines.
            Without a terminal, there is a line for each tenth of the runs. Failed runs always have a line.
    """

    def __init__(self, total: int, done: int, one_line: bool = False):
        from tqdm import tqdm  # the command `experiment status` does not need tqdm

        self.live, self.one_line = sys.stderr.isatty(), one_line
        self.total, self.done, self.started_s = total, done, time.monotonic()
        # without smoothing, because tests are short and trainings long: the mean of all runs predicts the time best
        self.bar = tqdm(
            total=total, initial=done, disable=not self.live, dynamic_ncols=True, bar_format=_BAR, smoothing=0.0
        )

    def event(self, text: str) -> None:
        """Print a line that stays."""
        self.bar.write(text, file=sys.stderr)
        sys.stderr.flush()

    def finished(self, done: int, title: str, outcome: str) -> None:
        """Show the number of finished runs, and the title and the accuracy of the run that has just finished."""
        if not self.one_line:
            self.event(f"{title} has finished: {outcome}")
        elif not self.live and 10 * done // self.total > 10 * self.done // self.total:
            duration = self.bar.format_interval(time.monotonic() - self.started_s)
            self.event(
                f"{done} of {self.total} runs have finished after {duration}. The last run is {title}: {outcome}."
            )
        self.done = self.bar.n = done
        if self.one_line:
            self.bar.set_postfix_str(f"{outcome} {title}")

    def show(self, lines: Sequence[str]) -> None:
        """Update the bar and the elapsed time, with as many lines on active runs as fit."""
        if not self.one_line:
            self.bar.set_postfix_str("; ".join(lines), refresh=False)
        self.bar.refresh()

    def close(self) -> None:
        """Stop updating the bar, whose last state stays visible."""
        self.bar.close()


def lines(jobs: Sequence[Job], out: Path, inputs: Inputs | None = None) -> list[str]:
    """Return the numbers of runs by state, a line for each run with a remark, and the lines of `not_compared`."""
    inputs = inputs or Inputs(out, None)
    states = state.of_all(jobs, out, inputs)
    counts = Counter(run_state.name for _, run_state in states)
    text = [f"{len(jobs)} runs: {', '.join(f'{counts[name]} {name}' for name in state.ORDER if counts[name])}"]
    for job, run_state in states:
        why = of_run(out / job.folder) if run_state.name == state.RUNNING else run_state.why
        if why:
            text.append(state.describe(job.title, run_state.name, why))
    return text + not_compared(states, inputs)


def not_compared(states: Sequence[tuple[Job, state.State]], inputs: Inputs) -> list[str]:
    """Return a line for each kind of input that could not be compared with the results of finished runs."""
    finished = [(job, run_state.result or {}) for job, run_state in states if run_state.name == state.FINISHED]
    counts = Counter(kind for job, result in finished for kind in inputs.not_compared(job, result))
    return [
        f"The recorded {kind} of {counted(n, 'finished run')} could not be compared with the current files."
        for kind, n in sorted(counts.items())
    ]


def _main(argv: list[str] | None) -> None:
    parser = Parser(__doc__)
    arguments.add_what_to_run(parser)
    args = parser.parse_args(argv)
    print("\n".join(lines(protocols.jobs(*arguments.what_to_run(args).parts), args.out, Inputs(args.out, args.data))))


def main(argv: list[str] | None = None) -> int:
    """Run the command, and return its exit code: 0, or 2 after an error message."""
    return report(_main, argv)
