"""Which run is started when: each that is not finished, once what it needs is, as many at a time as there are places.

Several runners may share an output folder: a run that another one has is waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from modprompt.active.asked import asked
from modprompt.experiments.plan.experiment import Job
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.running import progress, state
from modprompt.experiments.running.local import LocalLauncher
from modprompt.experiments.running.slurm import SubmitLauncher, Submitted
from modprompt.experiments.running.worker import BUSY, Run, task_of
from modprompt.io.text import one_line


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
_LOST = {state.STALE: "stale", state.LABELS: "asking"}


class Runner:
    """Runs jobs in their order, each after its search and training; `inputs` is what results are compared with."""

    def __init__(
        self,
        jobs: Sequence[Job],
        out: Path,
        data: Path,
        launcher: LocalLauncher | SubmitLauncher,
        inputs: Inputs | None = None,
        one_line: bool = False,
    ):
        self.jobs, self.out, self.data, self.launcher, self.inputs = list(jobs), out, data, launcher, inputs
        self.waiting: dict[str, Job] = {}  # by folder, as all below
        self.running: dict[str, tuple[Job, Run | Submitted]] = {}
        self.finished: set[str] = set()
        self.lost: dict[str, tuple[Job, str, str]] = {}  # job, "failed", "stale", "blocked" or "asking", and why
        self.ended: dict[str, float] = {}  # when a run was first found to have ended without a result
        self.answered: set[str] = set()  # runs whose labels came while they were ending
        self.asked_s, self.began = 0.0, time.time()
        self.stop = threading.Event()  # for signal handlers: looked at where nothing is half done
        for job, stands in state.of_all(self.jobs, out, inputs):
            self._sort_in(job, stands)
        self.screen = progress.Screen(len(self.jobs), len(self.finished), one_line)

    def _sort_in(self, job: Job, stands: state.State) -> None:
        if stands.name == state.FINISHED:
            self.finished.add(job.folder)
        elif stands.name == state.STALE:
            self.lost[job.folder] = (job, "stale", stands.why)
        elif (handle := self.launcher.adopt(self.out / job.folder)) is not None:
            self.running[job.folder] = (job, handle)
        elif stands.name == state.LABELS:
            self.lost[job.folder] = (job, "asking", stands.why)
        else:
            self.waiting[job.folder] = job

    def _of(self, job: Job) -> state.State:
        return state.of(job, self.out, self.inputs)

    def run(self) -> Summary:
        """Run until no run is left that can be run.

        Raises:
            KeyboardInterrupt: once `stop` is set; all files are whole then, and runs can be resumed.
        """
        try:
            while self.waiting or self.running:
                free = self.launcher.free()
                self._collect()
                self._ask_again()
                self._start(free)
                self._show()
                if (self.waiting or self.running) and self.stop.wait(self.launcher.poll_s):
                    raise KeyboardInterrupt
        finally:
            self.launcher.close()
            self.screen.close()
        of_kind = {
            kind: [(job, why) for job, what, why in self.lost.values() if what == kind]
            for kind in ("failed", "stale", "blocked", "asking")
        }
        return Summary(len(self.finished), **of_kind)

    def _collect(self) -> None:
        for folder, (job, handle) in list(self.running.items()):
            if (code := handle.poll()) is None:
                continue
            stands = self._of(job)
            waits = stands.name == state.WAITING
            if waits and code != BUSY and self._may_still_show(folder):
                continue
            del self.running[folder]
            if stands.name == state.FINISHED:
                self._finish(job, stands)
            elif stands.name == state.RUNNING or (waits and (code == BUSY or self._was_answered(folder))):
                self.waiting = {folder: job, **self.waiting}  # another runner's, or its server was killed
            else:
                self._lose(job, stands)

    def _may_still_show(self, folder: str) -> bool:
        """Whether a run that has ended may have files that another machine's disk does not show yet."""
        first = self.ended.setdefault(folder, time.monotonic())
        return time.monotonic() - first < self.launcher.patience_s

    def _was_answered(self, folder: str) -> bool:
        """Whether a run ended to ask for labels that are there by now; only once, or it would be started for ever."""
        if folder in self.answered or asked(self.out / folder) is None:
            return False
        self.answered.add(folder)
        return True

    def _ask_again(self) -> None:
        """Queue runs again whose labels have come while others were running."""
        if time.monotonic() - self.asked_s < _ASK_EVERY_S:
            return
        self.asked_s = time.monotonic()
        for folder, (job, kind, _) in list(self.lost.items()):
            if kind == "asking" and self._of(job).name != state.LABELS:
                del self.lost[folder]
                self.waiting[folder] = job

    def _lose(self, job: Job, stands: state.State) -> None:
        kind = _LOST.get(stands.name, "failed")
        why = stands.why or f"stopped; before: {one_line(state.last_line(self.out / job.folder / state.CONSOLE))}"
        self.lost[job.folder] = (job, kind, why)
        self.screen.event(f"{state.LABELS if kind == 'asking' else kind}: {job.title}: {why}")

    def _finish(self, job: Job, stands: state.State) -> None:
        self.finished.add(job.folder)
        for child in self.jobs:  # its model may differ from the one that they tested
            of_this = child.folder in self.finished and child.needs and child.needs.folder == job.folder
            if of_this and self._of(child).name != state.FINISHED:
                self.finished.remove(child.folder)
                self.waiting[child.folder] = child
        accuracy = stands.accuracy_pct
        self.screen.finished(
            len(self.finished), job.title, "no test images" if accuracy is None else f"{accuracy:.2f}%"
        )

    def _start(self, free: int) -> None:
        ready: list[Job] = []
        for job in list(self.waiting.values()):
            if len(ready) >= free:
                break
            if self._is_ready(job):
                ready.append(job)
        if ready:
            tasks = [task_of(job, self.out, self.data) for job in ready]
            handles: Sequence[Run | Submitted] = self.launcher.start(tasks)
            for job, handle in zip(ready, handles):
                self.running[job.folder] = (self.waiting.pop(job.folder), handle)

    def _is_ready(self, job: Job) -> bool:
        """Whether a waiting run can be started now; one that never can, or is finished by now, no longer waits."""
        needed = job.needs
        if needed and needed.folder in self.lost:
            del self.waiting[job.folder]
            why = f"its {needed.kind} has not finished ({self.lost[needed.folder][2]})"
            self.lost[job.folder] = (job, "blocked", why)
            return False
        if needed and needed.folder not in self.finished:
            return False
        stands = self._of(job)
        if stands.name == state.FINISHED:  # by another runner
            del self.waiting[job.folder]
            self._finish(job, stands)
        elif stands.name in _LOST or stands.failed_s > self.began:  # another runner left it so meanwhile
            del self.waiting[job.folder]
            self._lose(job, stands)
        return job.folder in self.waiting and stands.name != state.RUNNING

    def _show(self) -> None:
        if self.screen.live:
            self.screen.show(
                [f"{job.title}: {progress.of_run(self.out / job.folder)}" for job, _ in self.running.values()]
            )
