"""How all runs of an experiment stand, from any shell."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from experiments import progress, state
from experiments.protocols import Job

_MARKS = {state.FINISHED: "finished", state.RUNNING: "running", state.FAILED: "failed", state.STALE: "stale"}


def lines(jobs: Sequence[Job], out: Path) -> list[str]:
    """Numbers of runs by state, then every run that is neither finished nor merely waiting."""
    states = [(job, state.of(job, out)) for job in jobs]
    names = (state.FINISHED, state.RUNNING, state.WAITING, state.FAILED, state.STALE)
    counts = {name: sum(stands.name == name for _, stands in states) for name in names}
    text = [", ".join(f"{count} {name}" for name, count in counts.items() if count) + f", of {len(jobs)} runs"]
    for job, stands in states:
        if stands.name == state.RUNNING:
            text.append(f"running: {job.title}: {progress.of_run(out / job.folder)}")
        elif stands.name in (state.FAILED, state.STALE) or stands.why:
            text.append(f"{stands.name}: {job.title}: {stands.why}")
    return text
