"""Programs that lack room on the disk, memory or open files: each ends with one line, or well, and leaves nothing
half-written; the same command, once it has what it needs, ends with the undisturbed result.
"""

from __future__ import annotations

import contextlib
import csv
import ctypes
import errno
import functools
import gc
import math
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.errors import OutOfMemory, UserError
from modprompt.io.pictures import new_figure
from tests.campaign import kills
from tests.campaign.figures import Figure
from tests.campaign.kills_splits import sort_listings
from tests.campaign.limits_programs import PROGRAMS, Program, programs, quietly
from tests.killing import writes

TIMES = 6  # a limit of a kind for a program
LIMIT_S = 60
MB = 1 << 20
LARGE = 1 << 30


Limit = Callable[[random.Random, Program, Path], "tuple[str, Callable[[], None]]"]  # in words, and what sets it


HUNG = "hung in Python, whose new thread had no memory"  # it waits for that for ever: nothing of ours
# a product for which MKL gets no buffer is rounded otherwise, in the last digits: what was trained before memory ended
# has other ones then
ROUNDED = "ended with losses that MKL, without memory for its buffers, had rounded otherwise"
_OF_MEMORY = ("little memory", "little data")
_OF_PRODUCTS = ("losses", "prompts", "prompts_hash", "rounds", "texts")  # facts in which a last digit shows
_CLOSE = 1e-5  # of a loss
_ABORT = "cannot allocate memory for thread-local data: ABORT"  # of the C library, which asks nobody
_OF_PYTORCH = re.compile(r"[WE]\d{4} .*/torch/")  # lines of its own log


class Ended(NamedTuple):
    """How it ended, and its last words."""

    code: int
    said: str

    def outcome(self) -> str:
        """In words; empty if it did not end as it must."""
        if self.code == -signal.SIGALRM and "in thread started by" in self.said:
            return HUNG
        if self.code == 127 and self.said.rstrip().endswith(_ABORT):
            return "ended by the C library, in its own line"
        if self.code == 0:
            return "ended well in spite of it"
        ours = [line for line in self.said.splitlines() if not _OF_PYTORCH.match(line)]
        errors = [line for line in ours if line.startswith("error: ")]
        told = (
            self.code in (UserError.exit_code, OutOfMemory.exit_code)
            and len(errors) == 1
            and not any("Traceback" in line for line in ours)
        )
        return "ended with a message" if told else ""

    def last_lines(self) -> str:
        """Exit code, and the end of what it said."""
        lines = [line for line in self.said.strip().splitlines() if line.strip()]
        return f"{self.code}: {' | '.join(lines[-9:])[-900:]}"


# ------------------------------------------------------------------ limits: set in the child, each drawn


def _full_disk(draw: random.Random, one: Program, root: Path) -> tuple[str, Callable[[], None]]:
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


def _small_disk(draw: random.Random, one: Program, root: Path) -> tuple[str, Callable[[], None]]:
    more = int(10 ** draw.uniform(3.5, 6))
    return f"{more // 1024} KB left on the disk", lambda: _resize(root, _used(root) + more)


def _used(folder: Path) -> int:
    facts = os.statvfs(folder)
    return (facts.f_blocks - facts.f_bfree) * facts.f_frsize


def _mount(*words: object) -> bool:
    return subprocess.run(["mount", *map(str, words)], capture_output=True, check=False).returncode == 0


def _resize(folder: Path, size: int) -> None:
    if not _mount("-o", f"remount,size={size}", folder):
        raise RuntimeError(f"{folder} cannot be made smaller")


def _own_mounts() -> bool:
    """Whether this process may mount disks, which are its own and gone when it ends."""
    new_namespace = 0x00020000
    return ctypes.CDLL(None).unshare(new_namespace) == 0 and _mount("--make-rprivate", "/")


@contextlib.contextmanager
def _folder(before: Path, root: Path, on_a_disk: bool) -> Iterator[Path]:
    """The folder of a program, on a disk of its own."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    if on_a_disk and not _mount("-t", "tmpfs", "-o", f"size={LARGE}", "tmpfs", root):
        raise RuntimeError("no disk can be mounted")
    try:
        shutil.copytree(before, root, dirs_exist_ok=True)
        yield root
    finally:
        if on_a_disk:
            subprocess.run(["umount", "--lazy", str(root)], check=True)


def _small_files(draw: random.Random, one: Program, root: Path) -> tuple[str, Callable[[], None]]:
    most = int(10 ** draw.uniform(0, 5.5))
    return f"files of {most} bytes at most", lambda: _limited(resource.RLIMIT_FSIZE, most)


def _few_files(draw: random.Random, one: Program, root: Path) -> tuple[str, Callable[[], None]]:
    more = draw.randint(0, 8)
    return f"{more} open files more", lambda: _limited(resource.RLIMIT_NOFILE, _numbers_up_to(more))


def _numbers_up_to(free: int) -> int:
    """The limit under which so many numbers are free for files."""
    taken = {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208
    taken -= {number for number in taken if not os.path.exists(f"/proc/self/fd/{number}")}  # noqa: PTH110 - the listing's
    limit = 0
    while limit < free + len([number for number in taken if number < limit]):
        limit += 1
    return limit


def _memory(kind: int, row: int) -> Limit:
    def limit(draw: random.Random, one: Program, root: Path) -> tuple[str, Callable[[], None]]:
        more = int(10 ** draw.uniform(5, 8.3))

        def apply() -> None:
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[row])
            _limited(kind, pages * resource.getpagesize() + more)

        return f"{more / MB:.1f} MB more of {'addresses' if row == 0 else 'data'}", apply

    return limit


DISK = "small disk"
LIMITS: dict[str, Limit] = {
    DISK: _small_disk,
    "full disk": _full_disk,
    "small files": _small_files,
    "few open files": _few_files,
    "little memory": _memory(resource.RLIMIT_AS, 0),
    "little data": _memory(resource.RLIMIT_DATA, 5),
}


# ------------------------------------------------------------------ a program under a limit


def under(limit: Callable[[], None], work: Callable[[], int]) -> Ended:
    """Fork; the child has the limit and does `work`; its errors come through a pipe, which no limit bounds."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
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
    start = time.monotonic()
    with _folder(one.before, scratch / "limited", kind == DISK) as root:
        said, limit = LIMITS[kind](random.Random(f"{seed} {one.name} {kind} {number}"), one, root)
        ended = under(limit, lambda: one.run(root))
        if kind == DISK:
            _resize(root, LARGE)
        fault = _fault(one, ended, root)
        other = "" if fault else kills.differing(one.facts(root), expected)
        is_rounded = bool(other) and kind in _OF_MEMORY and _rounded(one, root, scratch / "undisturbed", expected)
        fault = fault or ("" if is_rounded else other)
    where = f"limits: {one.name} with {said} (seed {seed}, number {number}): {fault}"
    outcome = ROUNDED if is_rounded else ended.outcome() or "failed"
    figure.add(outcome, time.monotonic() - start, where if fault else "")


def _fault(one: Program, ended: Ended, root: Path) -> str:
    """What is wrong with how a program ended under a limit, and goes on without it; empty if nothing."""
    if not ended.outcome():
        return f"ended with {ended.last_lines()}"
    left = [path.name for path in root.rglob("*.part*")]
    if left and ended.outcome() != HUNG:  # that one was killed
        return f"left {left}"
    again = under(lambda: None, lambda: one.run(root))
    if again.code:
        return f"does not go on without the limit: ended with {again.last_lines()}"
    return ""


def _rounded(one: Program, root: Path, plain: Path, expected: dict[str, Any]) -> bool:
    """Whether what came of a program differs from the undisturbed in the last digits of its losses, and in no more."""
    found = one.facts(root)
    if any(found.get(name) != fact for name, fact in expected.items() if name not in _OF_PRODUCTS):
        return False
    mine, theirs = _losses(root), _losses(plain)
    are_close = mine.keys() == theirs.keys() and all(math.isclose(mine[at], theirs[at], rel_tol=_CLOSE) for at in mine)
    return bool(mine) and are_close


def _losses(root: Path) -> dict[tuple[str, ...], float]:
    """The loss of each step, by file, epoch and step."""
    return {
        (str(path.relative_to(root)), row["epoch"], row["step"]): float(row["loss"])
        for path in root.rglob("steps.csv")
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    }


def run(scratch: Path, seed: int, share: float) -> list[Figure]:
    """Each limit on each program, some times."""
    new_figure(1, 1)  # matplotlib is imported before a child lacks the memory for it
    sort_listings()  # a split follows its disk's order
    figures = {kind: Figure(f"limits: {kind}") for kind in LIMITS}
    if not _own_mounts():
        figures.pop(DISK)
        print(f"limits: {DISK} is not tried, this process may not mount one")
    tries = [(one, kind, number) for one in range(PROGRAMS) for kind in figures for number in range(TIMES)]
    drawn = sorted(random.Random(seed).sample(tries, max(1, round(share * len(tries)))))
    for place, one in enumerate(programs(scratch)):
        mine = [(kind, number) for which, kind, number in drawn if which == place]
        if not mine:
            continue
        work = kills.Work(one.name, one.before, functools.partial(quietly, one), one.facts)
        total, expected = kills.undisturbed(work, scratch)
        for kind, number in mine:
            _tried(one._replace(changes=total), kind, number, scratch, seed, expected, figures[kind])
    shutil.rmtree(scratch, ignore_errors=True)
    return list(figures.values())
