"""Parts "corruptions" and "flips": files of every kind, damaged in their bytes and in their structure, and read.

What survives: a line, or the value of the whole file; another value too where no checksum shows the damage, which is
counted: in a kind without one, and in a content that was sealed again. What changes nothing, or was tried, does not
count. Whatever it is, nothing is done but reading, and nothing takes long.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import zlib
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

from hypothesis import strategies as st

from tests.campaign.bytes_damage import Damage, damaged, damages, flips, flips_in_frame
from tests.campaign.drawing import each
from tests.campaign.figures import Figure
from tests.campaign.guard import Seen, attempt
from tests.campaign.kind import Kind
from tests.campaign.kinds import all_kinds
from tests.campaign.structures import mutants
from tests.campaign.values import plain

BYTES, STRUCTURES, FLIPS = 60, 60, 120  # of each kind, with share 1
LEAST = 12  # corruptions of each kind
SMALL = 0.1  # a smaller share has a third of the kinds, and 4 of each
SHORT, CUT = 600, " [...] "  # of a file of so many bytes no line is cut; where it would be
FOUND, SAME, OTHER = "refused in a line", "read as it was", "other values"


class Whole(NamedTuple):
    """A whole file of a kind: where it is, its bytes, what is read of it, and hashes of what was tried in its place."""

    kind: Kind
    path: Path
    raw: bytes
    value: Any
    tried: set[bytes]

    def is_new(self, content: bytes) -> bool:
        """Whether this is neither the whole file nor what was tried; noted."""
        digest = hashlib.sha256(content).digest()
        if digest in self.tried:
            return False
        self.tried.add(digest)
        return True


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
    return Whole(kind, path, raw, value, {hashlib.sha256(raw).digest()})


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """What readers say to people is not shown."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def try_one(file: Whole, content: bytes, what: str, figure: Figure, is_shown: bool, folder: Path) -> None:
    """Read a damaged file in the place of the whole one, and count what comes of it.

    Args:
        file: the whole one.
        content: what is read in its place.
        what: was done to it, for faults.
        figure: counts.
        is_shown: a checksum shows it, so that no other values may be read.
        folder: where it may write.
    """
    file.path.parent.mkdir(parents=True, exist_ok=True)
    file.path.write_bytes(content)
    with quietly():
        seen = attempt(lambda: SAME if plain(file.kind.read(file.path)) == file.value else OTHER, folder)
    fault = seen.fault or _other_than_it_must(seen, content, is_shown)
    if fault:
        kept = folder.parent / "faults" / f"{figure.tried}-{zlib.crc32(content):08x}"
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(content)
        fault = f"{file.kind.name}: {what}: {fault} (kept as {kept})"
    figure.add("not survived" if fault else seen.value or FOUND, seen.seconds, fault)


def _other_than_it_must(seen: Seen, content: bytes, is_shown: bool) -> str:
    if seen.value == OTHER and is_shown:
        return "other values are read"
    if CUT in seen.line and len(content) <= SHORT:
        return f"its line is cut, and the file has {len(content)} bytes: {seen.line}"
    return ""


class Counters(NamedTuple):
    """A row for kinds with a checksum, one for those without, and one for contents whose checksum was made anew."""

    checked: Figure
    unchecked: Figure
    sealed: Figure

    @classmethod
    def named(cls, name: str) -> Counters:
        """Empty rows."""
        return cls(Figure(name), Figure(name, unchecked=True), Figure("wrong types, sealed again"))

    def of(self, kind: Kind, is_sealed: bool = False) -> Figure:
        """The row of a kind, and of a content of it."""
        return self.unchecked if not kind.checked else self.sealed if is_sealed else self.checked


def corrupt(file: Whole, counters: Counters, seed: int, share: float, folder: Path) -> None:
    """Damage a file in its bytes, and in its structure where that is known."""
    changes = mutants(file.raw, file.kind)
    wanted = max(LEAST, round((BYTES + STRUCTURES) * share)) if share >= SMALL else 4

    def by_structure(number: int) -> bool:
        what, make, is_sealed = changes[number]
        try:
            content = make()
        except (UnicodeEncodeError, OverflowError, ValueError, TypeError):  # nobody can write that
            return False
        if not file.is_new(content):
            return False
        is_shown = file.kind.checked and not is_sealed
        try_one(file, content, f"{what} (seed {seed})", counters.of(file.kind, is_sealed), is_shown, folder)
        return True

    structures, name = 0, f"{seed} {file.kind.name}"
    if changes:
        structures = each(st.integers(0, len(changes) - 1), wanted // 2, name, by_structure)
    each(damages(file.raw), wanted - structures, name, _by_bytes(file, counters, seed, folder))


def _by_bytes(file: Whole, counters: Counters, seed: int, folder: Path) -> Callable[[Damage], bool]:
    def by_bytes(how: Damage) -> bool:
        content = damaged(file.raw, how)
        if not file.is_new(content):
            return False
        try_one(file, content, f"{how} (seed {seed})", counters.of(file.kind), file.kind.checked, folder)
        return True

    return by_bytes


def flip(file: Whole, counters: Counters, seed: int, share: float, folder: Path) -> None:
    """Flip single bits, half of them in the file's frame."""
    wanted, name = max(4, round(FLIPS * share)), f"{seed} {file.kind.name}"
    by_bytes = _by_bytes(file, counters, seed, folder)
    in_frame = each(flips_in_frame(file.raw), wanted // 2, name, by_bytes)
    each(flips(file.raw), wanted - in_frame, name, by_bytes)


_Trying = Callable[[Whole, Counters, int, float, Path], None]


def over_all_kinds(name: str, trying: _Trying, scratch: Path, seed: int, share: float) -> list[Figure]:
    """What came of all kinds, in rows."""
    counters = Counters.named(name)
    for number, kind in enumerate(all_kinds()):
        if share < SMALL and number % 3 != seed % 3:
            continue
        folder = scratch / str(number)
        file = whole(kind, folder)
        trying(file, counters, seed, share, folder)
        shutil.rmtree(folder)
    return [row for row in counters if row.tried]


def run(scratch: Path, seed: int, share: float) -> list[Figure]:
    """Part "corruptions"."""
    return over_all_kinds("corruptions of files", corrupt, scratch, seed, share)
