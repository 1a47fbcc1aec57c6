"""Which run is started when: each that is not finished, once what it needs is, as many at a time as there are places.

Several runners may share an output folder: a run that another one has is waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from modprompt.active.asked import asked
from modprompt.experiments.plan.experiment import Job
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.running import progress, state
from modprompt.experiments.running.worker import BUSY, FULL, Task, last_line, task_of
from modprompt.io.text import one_line


class Handle(Protocol):
    """A run that a launcher has started."""

    def alive(self) -> bool:
        """Whether it is waiting or running."""

    @property
    def code(self) -> int | None:
        """What its worker answered, once it has ended; None if it is not known."""


class Launcher(Protocol):
    """Where runs are started; see local.py and slurm.py."""

    poll_s: float
    patience_s: float  # how long a run's files may take to appear here
    stays: bool  # whether runs go on when the runner stops

    def free(self) -> int:
        """How many runs can be started now."""

    def start(self, tasks: Sequence[Task]) -> Sequence[Handle]:
        """Start the first of these runs, all for which there is a place; they are at most `free()`."""

    def poll(self) -> None:
        """Update the state of all runs."""

    def adopt(self, folder: Path) -> Handle | None:
        """A run that an earlier runner started and left."""

    def close(self) -> None:
        """End all runs that do not stay."""


class Summary(NamedTuple):
    """A runner's summary: the number of finished runs, and the others with the reason."""

    finished: int
    failed: list[tuple[Job, str]]
    stale: list[tuple[Job, str]]
    blocked: list[tuple[Job, str]]
    asking: list[tuple[Job, str]]

    @property
    def complete(self) -> bool:
        """Whether all runs are finished."""
        return not (self.failed or self.stale or self.blocked or self.asking)

    @property
    def asks(self) -> bool:
        """Whether all runs are finished except those that wait for labels."""
        return bool(self.asking) and self._replace(asking=[]).complete


_ASK_EVERY_S = 1.0  # how often labels are looked for


class Runner:
    """Runs all jobs of an experiment.

    Args:
        jobs: in the order in which they are started, each after its search and training.
        out: output folder.
        data: folder of the data sets.
        launcher: where they run.
        inputs: what results are compared with.
        screen: makes the progress display, from the number of runs and that of finished ones.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        out: Path,
        data: Path,
        launcher: Launcher,
        inputs: Inputs | None = None,
        screen: Callable[[int, int], progress.Screen] = progress.Screen,
    ):
        self.jobs, self.out, self.data, self.launcher = list(jobs), out, data, launcher
        self.inputs = inputs
        self.waiting: dict[str, Job] = {}  # by folder, as all below
        self.running: dict[str, tuple[Job, Handle]] = {}
        self.finished: set[str] = set()
        self.ended: dict[str, float] = {}  # when a run was first found to have ended without a result
        self.lost: dict[str, tuple[Job, str, str]] = {}  # job, "failed", "stale", "blocked" or "asking", and why
        self.answered: set[str] = set()  # runs whose labels came while they were ending
        self.gpu_needs: dict[Any, float] = {}  # by kind of run the largest share of a GPU's memory that was needed
        self.full: set[str] = set()  # runs whose share of a GPU was too small
        self.asked_s = 0.0
        self.began = time.time()
        self.stop = threading.Event()  # for signal handlers: looked at where nothing is half done
        self._sort_in()
        self.screen = screen(len(self.jobs), len(self.finished))

    def _sort_in(self) -> None:
        for job, stands in state.of_all(self.jobs, self.out, self.inputs):
            if stands.name == state.FINISHED:
                self.finished.add(job.folder)
                self._note_need(job, stands)
            elif stands.name == state.STALE:
                self.lost[job.folder] = (job, "stale", stands.why)
            else:
                self._wait_or_adopt(job, stands)

    def _wait_or_adopt(self, job: Job, stands: state.State) -> None:
        handle = self.launcher.adopt(self.out / job.folder)
        if handle is not None:
            self.running[job.folder] = (job, handle)
        elif stands.name == state.LABELS:
            self.lost[job.folder] = (job, "asking", stands.why)
        else:
            self.waiting[job.folder] = job

    def run(self) -> Summary:
        """Run until no run is left that can be run.

        Raises:
            KeyboardInterrupt: once `stop` is set; all files are whole then, and runs can be resumed.
        """
        try:
            while self.waiting or self.running:
                self.launcher.poll()
                self._collect()
                self._ask_again()
                self._start()
                self._show()
                if (self.waiting or self.running) and self.stop.wait(self.launcher.poll_s):
                    raise KeyboardInterrupt
        finally:
            self.launcher.close()
            self.screen.close()
        return self._summary()

    def _collect(self) -> None:
        for folder, (job, handle) in list(self.running.items()):
            if handle.alive():
                continue
            if handle.code == FULL:
                self._go_alone(job)
                continue
            stands = state.of(job, self.out, self.inputs)
            if stands.name == state.WAITING and handle.code != BUSY and self._may_still_show(folder):
                continue
            del self.running[folder]
            if stands.name == state.FINISHED:
                self._finish(job, stands)
            elif (
                stands.name == state.RUNNING
                or (stands.name == state.WAITING and handle.code == BUSY)
                or self._was_answered(folder, stands)
            ):
                self.waiting = {folder: job, **self.waiting}  # another runner's, or a worker was killed
            else:
                self._lose(job, stands)

    def _go_alone(self, job: Job) -> None:
        """Put a run whose share of a GPU was too small first in line, for a whole one."""
        del self.running[job.folder]
        self.full.add(job.folder)
        self.waiting = {job.folder: job, **self.waiting}
        self.screen.event(f"out of memory in its share of a GPU: {job.title}: started again alone")

    def _note_need(self, job: Job, stands: state.State) -> None:
        """Remember which share of a GPU's memory a run needed, for others of its kind."""
        peak, whole = ((stands.result or {}).get(name) for name in ("peak_gib", "gpu_gib"))
        if peak and whole:
            self.gpu_needs[job.alike] = max(self.gpu_needs.get(job.alike, 0.0), peak / whole)

    def _task(self, job: Job) -> Task:
        need = 1.0 if job.folder in self.full else self.gpu_needs.get(job.alike)
        return task_of(job, self.out, self.data)._replace(gpu_need=need)

    def _was_answered(self, folder: str, stands: state.State) -> bool:
        """Whether a run ended to ask for labels that are there by now; only once, or it would be started for ever."""
        again = stands.name == state.WAITING and asked(self.out / folder) is not None
        first = folder not in self.answered
        if again:
            self.answered.add(folder)
        return again and first

    def _may_still_show(self, folder: str) -> bool:
        """Whether a run that has ended may have files that another machine's disk does not show yet."""
        first = self.ended.setdefault(folder, time.monotonic())
        return time.monotonic() - first < self.launcher.patience_s

    def _ask_again(self) -> None:
        """Queue runs again whose labels have come while others were running."""
        if time.monotonic() - self.asked_s < _ASK_EVERY_S:
            return
        self.asked_s = time.monotonic()
        for folder, (job, kind, _) in list(self.lost.items()):
            if kind == "asking" and state.of(job, self.out, self.inputs).name != state.LABELS:
                del self.lost[folder]
                self.waiting[folder] = job

    def _lose(self, job: Job, stands: state.State) -> None:
        kind = {state.STALE: "stale", state.LABELS: "asking"}.get(stands.name, "failed")
        why = stands.why or f"stopped; before: {one_line(last_line(self.out / job.folder / state.CONSOLE))}"
        self.lost[job.folder] = (job, kind, why)
        self.screen.event(f"{state.LABELS if kind == 'asking' else kind}: {job.title}: {why}")

    def _finish(self, job: Job, stands: state.State) -> None:
        self.finished.add(job.folder)
        self._note_need(job, stands)
        accuracy = stands.accuracy_pct
        came = "no test images" if accuracy is None else f"{accuracy:.2f}%"
        for child in self.jobs:  # its model may differ from the one that they tested
            of_this = child.folder in self.finished and child.needs and child.needs.folder == job.folder
            if of_this and state.of(child, self.out, self.inputs).name != state.FINISHED:
                self.finished.remove(child.folder)
                self.waiting[child.folder] = child
        self.screen.finished(len(self.finished), job.title, came)

    def _start(self) -> None:
        free = self.launcher.free()
        chosen: list[Job] = []
        for job in list(self.waiting.values()):
            if len(chosen) >= free:
                break
            if self._is_ready(job):
                chosen.append(job)
        if not chosen:
            return
        handles = self.launcher.start([self._task(job) for job in chosen])
        for job, handle in zip(chosen, handles):
            del self.waiting[job.folder]
            self.running[job.folder] = (job, handle)

    def _is_ready(self, job: Job) -> bool:
        """Whether a waiting run can be started now; one that never can, or is finished by now, no longer waits."""
        needed = job.needs
        if needed and needed.folder in self.lost:
            _, _, why = self.lost[needed.folder]
            del self.waiting[job.folder]
            self.lost[job.folder] = (job, "blocked", f"its {needed.kind} has not finished ({why})")
            return False
        if needed and needed.folder not in self.finished:
            return False
        stands = state.of(job, self.out, self.inputs)
        if stands.name == state.FINISHED:  # by another runner
            del self.waiting[job.folder]
            self._finish(job, stands)
        elif stands.name in (state.STALE, state.LABELS) or stands.failed_s > self.began:
            # another runner left it so meanwhile
            del self.waiting[job.folder]
            self._lose(job, stands)
            return False
        return stands.name not in (state.FINISHED, state.RUNNING)

    def _show(self) -> None:
        folders = {folder: job for folder, (job, _) in self.running.items()}
        self.screen.show([f"{job.title}: {progress.of_run(self.out / folder)}" for folder, job in folders.items()])

    def _summary(self) -> Summary:
        of_kind = {
            kind: [(job, why) for job, what, why in self.lost.values() if what == kind]
            for kind in ("failed", "stale", "blocked", "asking")
        }
        return Summary(len(self.finished), **of_kind)
