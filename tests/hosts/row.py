"""All that the check does in one codebase, and what came of it."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.hosts.codebase import PROGRAM
from modprompt.hosts.rows import with_rows
from modprompt.hosts.trial import HOST, LAUNCHER
from tests.hosts.bench import (
    CLASSES,
    EPOCHS,
    TESTED_EPOCH,
    Bench,
    Desk,
    Run,
    Way,
    checkpoint,
    difference,
    loading,
    other_tensors,
)
from tests.hosts.table import KEEP, Host

EQUAL, CLEAN = "equal", "clean"
LINE = "line"  # in results; the doctor says PROGRAM
_HOST = ("-m", "modprompt", "train", "--host")
TRIES = 5  # to kill a run in time
DOCTOR_S = 300  # its limit where several checks share a machine
TOLD = re.compile(
    r"^(?:note: |kept: |\S+ of this codebase is left out|.* are left out |.*: it is read by ours).*", re.MULTILINE
)
WELL, UNTRIED = "MPL trains and tests", "not tried"


class Said(NamedTuple):
    """What the doctor said: its exit code, the state by way, its seconds."""

    code: int
    states: dict[str, str]
    seconds: int


def read_doctor(code: int, out: str, seconds: float) -> Said:
    """A report of the doctor."""
    found = {way: re.search(rf"^{way} +(\S.*)$", out, re.MULTILINE) for way in (PROGRAM, HOST, LAUNCHER)}
    return Said(code, {way: line[1].strip() for way, line in found.items() if line}, round(seconds))


def wrong(said: Said, failed: Mapping[str, str]) -> str:
    """What of the doctor's words is not what happened ("" if all is).

    Args:
        said: by the doctor; that a way could not be tried is no verdict, and so no wrong one.
        failed: why MPL does not train and test, by way; "" where it does.
    """
    faults = []
    for way, why in failed.items():
        state = said.states.get(way, "nothing")
        if not state.startswith(UNTRIED) and state.startswith(WELL) != (not why):
            faults.append(f"{way}: said '{state}', happened: {why or 'it did'}")
    used = said.states.get(next(iter(failed)), "")
    code = 0 if used.startswith(WELL) else 2 if used.startswith(UNTRIED) else 1
    if said.code != code:
        faults.append(f"exit code {said.code} in place of {code}")
    return "; ".join(faults)


class Visit:
    """The runs in one codebase."""

    def __init__(self, bench: Bench, host: Host, folder: Path, packages: tuple[Path, ...]):
        """folder: of all checkouts; packages: what its program imports by itself, for PYTHONPATH."""
        self.bench, self.host = bench, host
        self.top, self.folder = folder / host.checkout, host.folder(folder)
        self.desk = Desk(bench.folder / re.sub(r"\W", "-", host.name), bench.pictures, bench.python)
        ours, dassl = bench.folder / "ours", host.dassl_folder(folder)
        program = (PROGRAM, *([KEEP] if host.keep else []))
        launched = (dassl, *(packages if host.needs else ()), ours)
        self.whole = (dassl, bench.folder / "wilds", *packages, ours)
        self.ways = {
            HOST: Way((*_HOST, str(self.folder)), self.desk.folder, (ours,), "MPL", host.dataset_config),
            LAUNCHER: Way(
                ("-m", "modprompt.launch", *program), self.folder, launched, host.trainer, host.dataset_config
            ),
            LINE: Way(program, self.folder, self.whole, host.trainer, host.dataset_config),
        }

    def learned(self, run: Run, out: str, expected: Run) -> str:
        """What tells a training from ours, the learned tensors included, or ""."""
        fault = difference(run, expected)
        theirs, ours = checkpoint(self.desk.folder / out, EPOCHS), checkpoint(self.bench.desk.folder / "out", EPOCHS)
        if fault or theirs is None or ours is None:
            return fault or "it left no checkpoint"
        return other_tensors(theirs, ours)

    def tested(self, way: str, classes: str) -> Run:
        """A test of what a way has trained, by `--eval-only --model-dir --load-epoch`."""
        saved = checkpoint(self.desk.folder / way, TESTED_EPOCH)
        words = loading(self.desk.folder / way if saved is None else saved.parents[1])
        return self.bench.train(self.desk, self.ways[way], classes, f"{way}-{classes}", words)

    def resumed(self, way: str) -> str:
        """What is wrong with a run that was killed after its first epoch and started again, or ""."""
        for number in range(TRIES):
            out = f"{way}-killed-{number}"
            killed = self.bench.train(self.desk, self.ways[way], "base", out, kill=True)
            if killed.code != -9:
                return f"before it was killed: {killed.failed or 'it ended'}"
            if checkpoint(self.desk.folder / out, EPOCHS) is None:
                break
        else:
            return f"was not killed in time, {TRIES} times"
        run, ours = self.bench.train(self.desk, self.ways[way], "base", out), self.bench.trained
        starts_over = self.host.starts_over and way == LAUNCHER
        losses = ours.losses[0 if starts_over else len(ours.losses) // EPOCHS :]
        return self.learned(run, out, ours._replace(losses=losses))

    def by(self, way: str) -> tuple[dict[str, str], str]:
        """By what was done, what came of it; and why MPL does not train and test, or ""."""
        run = self.bench.train(self.desk, self.ways[way], "base", way)
        found = {"trained": self.learned(run, way, self.bench.trained)}
        tests = {classes: self.tested(way, classes) for classes in CLASSES}
        found.update({classes: difference(test, self.bench.tested[classes]) for classes, test in tests.items()})
        found["resumed"] = self.resumed(way)
        row = {name: self.plain(text) or EQUAL for name, text in found.items()}
        return {**row, "told": self.told(run)}, self.plain(run.failed or tests["base"].failed)

    def told(self, run: Run) -> str:
        """What a run said of what it takes, leaves out, or finds changed."""
        return self.plain("\n".join(dict.fromkeys(match[0] for match in TOLD.finditer(run.out))))

    def plain(self, text: str) -> str:
        """What was said, without folders of this machine."""
        own = f"{self.desk.folder}/"[1:]  # some put it behind another folder
        return re.sub(rf"((?<!\w)/)?{re.escape(own)}", "", text.replace(str(self.top), self.host.checkout))

    def line(self) -> Run:
        """A training by `python train.py`, with the words that its user is told."""
        way = self.ways[LINE]
        words = with_rows(self.bench.words(self.desk, way, "base", LINE), self.folder / PROGRAM, way.trainer).words
        self.desk.fresh()
        return self.desk.run([*way.start, *words], way, self.desk.folder / LINE)

    def doctor(self) -> Said:
        """What the doctor says."""
        started = time.monotonic()
        done = self.desk.call(["doctor", "--seconds", DOCTOR_S], self.whole, self.folder)
        return read_doctor(done.returncode, done.stdout, time.monotonic() - started)

    def install(self, *words: str) -> str:
        """What is wrong with a call of the installer, or ""."""
        done = self.desk.call(["install", self.folder, *words], self.whole, self.desk.folder)
        said = re.sub(r"/\S*/site-packages/", "site-packages/", done.stderr.strip())  # no folder of a machine
        return f"modprompt install: {said[:250]}" if done.returncode else ""

    def git(self) -> str:
        """What git finds changed, new or ignored in the checkout."""
        return git(self.top, "status", "--porcelain", "--ignored", "--untracked-files=all") or CLEAN


def git(folder: Path, *words: str) -> str:
    """What git prints.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def visit(bench: Bench, host: Host, folder: Path, packages: tuple[Path, ...]) -> dict[str, Any]:
    """A row of the results but for the doctor: what came of each way, why it failed, and what git finds at the end."""
    here = Visit(bench, host, folder, packages)
    row: dict[str, Any] = {"failed": {}, "doctor": {}}
    try:
        for way in (HOST, LAUNCHER):
            row[way], row["failed"][way] = here.by(way)
        fault = here.install()
        if not fault:
            run = here.line()
            row["failed"] = {PROGRAM: run.failed, **row["failed"]}
            fault = "; ".join(filter(None, [here.learned(run, LINE, bench.trained), here.install("--uninstall")]))
        row[LINE] = here.plain(fault) or EQUAL
        row["git"] = here.git()
    finally:
        here.desk.close()
    return row


def ask_doctor(
    bench: Bench, host: Host, folder: Path, packages: tuple[Path, ...], row: dict[str, Any]
) -> dict[str, Any]:
    """The row with what the doctor says, held against it, and what git finds then."""
    here, has_line = Visit(bench, host, folder, packages), PROGRAM in row["failed"]
    fault = here.install() if has_line else ""
    said = here.doctor()
    if has_line and not fault:
        fault = here.install("--uninstall")
    doctor = {**said._asdict(), "wrong": fault or wrong(said, row["failed"])}
    return {**row, "doctor": doctor, "git": here.git()}
