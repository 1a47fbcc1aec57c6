"""Parts "corruptions" and "flips": files of every kind, damaged in their bytes and in their structure, and read.

What survives: a line, or the value of the whole file; of a kind without a checksum another value too, which is counted.
Whatever it is, nothing is done but reading, and nothing takes long.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import zlib
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

from hypothesis import strategies as st

from tests.campaign.bytes_damage import damaged, damages, flips, flips_in_frame
from tests.campaign.drawing import each
from tests.campaign.figures import Figure
from tests.campaign.guard import attempt
from tests.campaign.kind import Kind
from tests.campaign.kinds import all_kinds
from tests.campaign.structures import mutants
from tests.campaign.values import plain

BYTES, STRUCTURES, FLIPS = 60, 60, 120  # of each kind, with share 1
LEAST = 12  # corruptions of each kind
SMALL = 0.1  # a smaller share has a third of the kinds, and 4 of each
FOUND, SAME, OTHER = "refused in a line", "read as it was", "other values"


class Whole(NamedTuple):
    """A whole file of a kind: where it is, its bytes, and what is read of it."""

    kind: Kind
    path: Path
    raw: bytes
    value: Any


def whole(kind: Kind, folder: Path) -> Whole:
    """A whole file of a kind, written and read.

    Args:
        kind: what it is.
        folder: where it goes; made.
    """
    folder.mkdir(parents=True)
    with quietly():
        path = kind.write(folder)
        raw = path.read_bytes()
        value = plain(kind.read(path))
    return Whole(kind, path, raw, value)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """What readers say to people is not shown."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def try_one(file: Whole, content: bytes, what: str, figure: Figure, is_bytes: bool, folder: Path) -> None:
    """Read a damaged file in the place of the whole one, and count what comes of it.

    Args:
        file: the whole one.
        content: what is read in its place.
        what: was done to it, for faults.
        figure: counts.
        is_bytes: its bytes were damaged, which a checksum shows; else its structure is another.
        folder: where it may write.
    """
    file.path.parent.mkdir(parents=True, exist_ok=True)
    file.path.write_bytes(content)
    with quietly():
        seen = attempt(lambda: plain(file.kind.read(file.path)), folder)
    same = not seen.line and seen.value == file.value
    fault = seen.fault
    if is_bytes and file.kind.checked and not (fault or seen.line or same):
        fault = "other values are read"
    word = FOUND if seen.line else SAME if same else OTHER
    if fault:
        kept = folder.parent / "faults" / f"{figure.tried}-{zlib.crc32(content):08x}"
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(content)
        fault = f"{file.kind.name}: {what}: {fault} (kept as {kept})"
    figure.add("not survived" if fault else word, seen.seconds, fault)


class Counters(NamedTuple):
    """A row for kinds with a checksum, and one for those without."""

    checked: Figure
    unchecked: Figure

    @classmethod
    def named(cls, name: str) -> Counters:
        """Two empty rows."""
        return cls(Figure(name), Figure(name, unchecked=True))

    def of(self, kind: Kind) -> Figure:
        """The row of a kind."""
        return self.checked if kind.checked else self.unchecked


def corrupt(file: Whole, figure: Figure, seed: int, share: float, folder: Path) -> None:
    """Damage a file in its bytes, and in its structure where that is known."""
    changes = mutants(file.raw, file.kind)
    wanted = max(LEAST, round((BYTES + STRUCTURES) * share)) if share >= SMALL else 4

    def by_structure(number: int) -> None:
        what, make = changes[number]
        with contextlib.suppress(UnicodeEncodeError, OverflowError, ValueError, TypeError):  # nobody can write that
            try_one(file, make(), f"{what} (seed {seed})", figure, False, folder)

    structures = min(len(changes), wanted // 2)
    if structures:
        each(st.integers(0, len(changes) - 1), structures, f"{seed} {file.kind.name}", by_structure)
    each(
        damages(file.raw),
        wanted - structures,
        f"{seed} {file.kind.name}",
        lambda how: try_one(file, damaged(file.raw, how), f"{how} (seed {seed})", figure, True, folder),
    )


def flip(file: Whole, figure: Figure, seed: int, share: float, folder: Path) -> None:
    """Flip single bits, half of them in the file's frame."""
    wanted = max(4, round(FLIPS * share))
    for strategy, count in ((flips_in_frame(file.raw), wanted // 2), (flips(file.raw), wanted - wanted // 2)):
        each(
            strategy,
            count,
            f"{seed} {file.kind.name}",
            lambda how: try_one(file, damaged(file.raw, how), f"{how} (seed {seed})", figure, True, folder),
        )


_Trying = Callable[[Whole, Figure, int, float, Path], None]


def over_all_kinds(name: str, trying: _Trying, scratch: Path, seed: int, share: float) -> list[Figure]:
    """Two rows: what came of all kinds with a checksum, and of those without."""
    counters = Counters.named(name)
    for number, kind in enumerate(all_kinds()):
        if share < SMALL and number % 3 != seed % 3:
            continue
        folder = scratch / str(number)
        file = whole(kind, folder)
        trying(file, counters.of(kind), seed, share, folder)
        shutil.rmtree(folder)
    return list(counters)


def run(scratch: Path, seed: int, share: float) -> list[Figure]:
    """Part "corruptions"."""
    return over_all_kinds("corruptions of files", corrupt, scratch, seed, share)
