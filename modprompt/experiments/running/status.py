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

_LEFT_OUT = re.compile(r"\b(?:time|data|lr) \S+(?: \(\S+\))?\s*")  # of what a training says of a step
_BAR = "{percentage:3.0f}% {bar:16} {n_fmt}/{total_fmt} runs, {remaining} left{postfix}"


def of_run(folder: Path) -> str:
    """What a run that was started said last, without what few ask for."""
    if not run_folder.is_held(folder):
        return "waiting to start"
    console, log = folder / state.CONSOLE, folder / "log.txt"
    rounds = known(folder / FOLDER)
    told = [f"round {rounds[-1]}"] if rounds else []
    said = state.last_line(console if console.exists() else log)  # a script's run has a log alone
    return ", ".join([*told, one_line(_LEFT_OUT.sub("", said))[:80] or "starting"])


class Screen:
    """The bar of a runner on a terminal, which ends with the runs at work; elsewhere a line per event.

    one_line: the bar ends with the newest number instead, and finished runs have no lines of their own; without a
    terminal there is a line for each tenth of the runs. Failures still have theirs.
    """

    def __init__(self, total: int, done: int, one_line: bool = False):
        from tqdm import tqdm  # late: `experiment status` needs none

        self.live, self.one_line = sys.stderr.isatty(), one_line
        self.total, self.done, self.began = total, done, time.monotonic()
        # without smoothing: tests are quick and trainings are not, and the mean of all runs so far predicts best
        self.bar = tqdm(
            total=total, initial=done, disable=not self.live, dynamic_ncols=True, bar_format=_BAR, smoothing=0.0
        )

    def event(self, text: str) -> None:
        """Print a line that stays."""
        self.bar.write(text, file=sys.stderr)
        sys.stderr.flush()

    def finished(self, done: int, title: str, came: str) -> None:
        """Show how many runs are finished; the last one's title, and its result, which a narrow line has too."""
        if not self.one_line:
            self.event(f"{title} has finished: {came}")
        elif not self.live and 10 * done // self.total > 10 * self.done // self.total:
            took = self.bar.format_interval(time.monotonic() - self.began)
            self.event(f"{done} of {self.total} runs have finished after {took}. The last run is {title}: {came}.")
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


def lines(jobs: Sequence[Job], out: Path, inputs: Inputs | None = None) -> list[str]:
    """Numbers of runs by state, every run that is neither finished nor merely waiting, and what is not compared."""
    inputs = inputs or Inputs(out, None)
    states = state.of_all(jobs, out, inputs)
    counts = Counter(stands.name for _, stands in states)
    text = [f"{len(jobs)} runs: {', '.join(f'{counts[name]} {name}' for name in state.ORDER if counts[name])}"]
    for job, stands in states:
        why = of_run(out / job.folder) if stands.name == state.RUNNING else stands.why
        if why:
            text.append(state.describe(job.title, stands.name, why))
    return text + not_compared(states, inputs)


def not_compared(states: Sequence[tuple[Job, state.State]], inputs: Inputs) -> list[str]:
    """A line for each kind of input that finished runs were not compared with."""
    finished = [(job, stands.result or {}) for job, stands in states if stands.name == state.FINISHED]
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
    """Exit code: 0, or 2 after a message on what is wrong."""
    return report(_main, argv)
