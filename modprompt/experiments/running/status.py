"""The state of an experiment's runs, from any shell.

    modprompt experiment status base2new

FILE is an experiment file, or the name of one in configs/experiments. Nothing is started or changed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from modprompt.experiments.plan import arguments, protocols
from modprompt.experiments.plan.experiment import Job
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.running import progress, state
from modprompt.programs import report


def lines(jobs: Sequence[Job], out: Path, inputs: Inputs | None = None) -> list[str]:
    """Numbers of runs by state, every run that is neither finished nor merely waiting, and what is not compared."""
    inputs = inputs or Inputs(out, None)
    states = state.of_all(jobs, out, inputs)
    names = (state.FINISHED, state.RUNNING, state.WAITING, state.LABELS, state.FAILED, state.STALE)
    counts = Counter(stands.name for _, stands in states)
    text = [", ".join([*(f"{counts[name]} {name}" for name in names if counts[name]), f"of {len(jobs)} runs"])]
    for job, stands in states:
        if stands.name == state.RUNNING:
            text.append(f"running: {job.title}: {progress.of_run(out / job.folder)}")
        elif stands.name in (state.FAILED, state.STALE) or stands.why:
            text.append(f"{stands.name}: {job.title}: {stands.why}")
    return text + not_compared(states, inputs)


def not_compared(states: Sequence[tuple[Job, state.State]], inputs: Inputs) -> list[str]:
    """A line for each kind of input that finished runs were not compared with."""
    finished = [(job, stands.result or {}) for job, stands in states if stands.name == state.FINISHED]
    counts = Counter(kind for job, result in finished for kind in inputs.not_compared(job, result))
    return [f"not compared with what is there now: {kind} of {n} finished runs" for kind, n in sorted(counts.items())]


def _main(argv: list[str] | None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_what_to_run(parser)
    args = parser.parse_args(argv)
    print("\n".join(lines(protocols.jobs(*arguments.what_to_run(args).parts), args.out, Inputs(args.out, args.data))))


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or 2 after a message on what is wrong."""
    return report(_main, argv)
