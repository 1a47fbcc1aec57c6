"""Programs that lack room on the disk, memory or open files: each ends with one line, or well, and leaves nothing
half-written; the same command, once it has what it needs, ends with the undisturbed result.
"""

from __future__ import annotations

import errno
import gc
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import zipfile
from pathlib import Path
from typing import Any, Callable, NamedTuple

from modprompt.data.prepare.unpack import unpack
from modprompt.experiments.plan import protocols, spec
from modprompt.experiments.reporting import report
from modprompt.programs import report as program
from tests.campaign import kills
from tests.campaign.figures import Figure
from tests.campaign.kills_rounds import ROUNDS
from tests.campaign.kills_search import SEARCH
from tests.campaign.kills_training import MPL
from tests.killing import in_child, writes
from tests.modprompt.experiments import fakes

TIMES = 12  # a limit of a kind for a program
LIMIT_S = 120
MB = 1 << 20


class Program(NamedTuple):
    """A program that gets too little.

    name: for the table.
    before: its folder, before it starts.
    run: the program in a folder; its exit code.
    facts: what came of it.
    changes: how many changes to the disk it makes.
    """

    name: str
    before: Path
    run: Callable[[Path], int]
    facts: Callable[[Path], dict[str, Any]]
    changes: int = 0


class Ended(NamedTuple):
    """How it ended, and its last words."""

    code: int
    said: str

    def outcome(self) -> str:
        """In words; empty if it did not end as it must."""
        lines = [line for line in self.said.splitlines() if line.startswith("error: ")]
        if self.code == 0:
            return "ended well in spite of it"
        return "ended with a line" if self.code == 2 and len(lines) == 1 and "Traceback" not in self.said else ""


# ------------------------------------------------------------------ limits: set in the child, each drawn


def _full_disk(draw: random.Random, one: Program) -> tuple[str, Callable[[], None]]:
    at = draw.randint(1, one.changes)
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if writes(event, arguments) and str(arguments[0]) != os.devnull:
            seen += 1
            if seen >= at and event in ("open", "os.mkdir"):  # to rename or remove takes no room
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))

    return f"no room from change {at} on", lambda: sys.addaudithook(hook)


def _limited(kind: int, least: int) -> None:
    resource.setrlimit(kind, (least, least))


def _small_files(draw: random.Random, one: Program) -> tuple[str, Callable[[], None]]:
    most = int(10 ** draw.uniform(0, 5.5))
    return f"files of {most} bytes at most", lambda: _limited(resource.RLIMIT_FSIZE, most)


def _few_files(draw: random.Random, one: Program) -> tuple[str, Callable[[], None]]:
    more = draw.randint(0, 12)
    return f"{more} open files", lambda: _limited(resource.RLIMIT_NOFILE, _open_files() + more)


def _open_files() -> int:
    return max(int(name) for name in os.listdir("/proc/self/fd")) + 1  # noqa: PTH208 - no more files than that


def _memory(kind: int, row: int) -> Callable[[random.Random, Program], tuple[str, Callable[[], None]]]:
    def limit(draw: random.Random, one: Program) -> tuple[str, Callable[[], None]]:
        more = int(10 ** draw.uniform(5, 8.3))

        def apply() -> None:
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[row])
            _limited(kind, pages * resource.getpagesize() + more)

        return f"{more / MB:.1f} MB more of {'addresses' if row == 0 else 'data'}", apply

    return limit


LIMITS: dict[str, Callable[[random.Random, Program], tuple[str, Callable[[], None]]]] = {
    "full disk": _full_disk,
    "small files": _small_files,
    "few open files": _few_files,
    "little memory": _memory(resource.RLIMIT_AS, 0),
    "little data": _memory(resource.RLIMIT_DATA, 5),
}


# ------------------------------------------------------------------ a program under a limit


def under(limit: Callable[[], None], work: Callable[[], int]) -> Ended:
    """Fork; the child has the limit and does `work`; what it says comes through a pipe, which no limit bounds."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            signal.alarm(LIMIT_S)
            limit()
            code = work()
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    return Ended(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.replace("\r", "\n"))


def _tried(
    one: Program, kind: str, number: int, scratch: Path, seed: int, expected: dict[str, Any], figure: Figure
) -> None:
    said, limit = LIMITS[kind](random.Random(f"{seed} {one.name} {kind} {number}"), one)
    start, root = time.monotonic(), kills.fresh(one.before, scratch / "limited")
    ended = under(limit, lambda: one.run(root))
    outcome, fault = ended.outcome(), ""
    if not outcome:
        lines = [line for line in ended.said.strip().splitlines() if line.strip()]
        fault = f"ended with {ended.code}: {' | '.join(lines[-9:])[-900:]}"
    left = [path.name for path in root.rglob("*.part*")]
    if left and not fault:
        fault = f"left {left}"
    if not fault and in_child(lambda: _quietly(one, root), 0, scratch / "counted") != 0:
        fault = "does not go on without the limit"
    fault = fault or kills.differing(one.facts(root), expected)
    where = f"limits: {one.name} with {said} (seed {seed}, number {number}): {fault}"
    figure.add(outcome or "failed", time.monotonic() - start, where if fault else "")


# ------------------------------------------------------------------ the programs


def _files(root: Path) -> dict[str, Any]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _archive(scratch: Path) -> Program:
    before = scratch / "archive"
    before.mkdir()
    with zipfile.ZipFile(before / "pictures.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"pictures/{number % 4}/{number}.txt", os.urandom(2000 + 500 * number))

    def run(root: Path) -> int:
        if (root / "unpacked").exists():
            return 0
        return program(unpack, root / "pictures.zip", root / "unpacked")

    return Program("unpacking", before, run, _files)


def _report(scratch: Path) -> Program:
    before = scratch / "experiment"
    before.mkdir()
    (scratch / "small.yaml").write_text(
        "protocol: base2new\ndatasets: [digits]\nseeds: [1, 2]\nmethods:\n  MPL: {trainer: MPL, config: glyph}\n"
    )
    for number, job in enumerate(protocols.jobs(spec.read(scratch / "small.yaml"))):
        fakes.finish(job, before / "out", 50.0 + number)

    def run(root: Path) -> int:
        words = [str(root.parent / "small.yaml"), "--out", str(root / "out"), "--data", str(root / "data")]
        return report.main(words)

    return Program("a report", before, run, lambda root: {name: 0 for name in _files(root)})


def _facts_of_run(root: Path) -> dict[str, Any]:
    """Without caches, whose names have the times of their images."""
    facts = kills.facts_of_run(root)
    return {**facts, "files": {name for name in facts["files"] if not name.startswith("kept/")}}


def _of_training(name: str, tree: Path, trainer: str, options: dict[str, Any]) -> Program:
    def run(root: Path) -> int:
        kept = {"TEST.IMAGE_CACHE": root / "kept", "TEST.FEATURE_CACHE": root / "kept"}
        return kills.train_in(root, trainer, {**options, **kept}, quiet=False)

    return Program(name, tree, run, _facts_of_run)


def programs(scratch: Path) -> list[Program]:
    """All of them, with their changes to the disk not counted yet."""
    tree = kills.prepare(scratch)
    return [
        _of_training("a training", tree, "MPL", MPL),
        _of_training("a test with caches", tree, "ZeroshotCLIP", {"DATASET.NUM_SHOTS": 2}),
        _of_training("a search", tree, "DPLSearch", SEARCH),
        _of_training("rounds", tree, "MPL", {**ROUNDS, "ACTIVE.ASK": False}),
        _archive(scratch),
        _report(scratch),
    ]


def _quietly(one: Program, root: Path) -> None:
    with kills.silent():
        if one.run(root):
            raise SystemExit(1)


def run(scratch: Path, seed: int, share: float) -> list[Figure]:
    """Each limit on each program, some times."""
    figures = {kind: Figure(f"limits: {kind}") for kind in LIMITS}
    for one in programs(scratch):
        work = kills.Work(one.name, one.before, lambda root, one=one: _quietly(one, root), one.facts)
        total, expected = kills.undisturbed(work, scratch)
        for kind, figure in figures.items():
            for number in range(max(1, round(share * TIMES))):
                _tried(one._replace(changes=total), kind, number, scratch, seed, expected, figure)
    shutil.rmtree(scratch, ignore_errors=True)
    return list(figures.values())
