"""Parts "corruptions" and "flips": files of every kind, damaged in their bytes and in their structure, and read.

What survives: a message that names the file, or the value of the whole file; another value too where no checksum shows the
damage, which is counted: in a kind without one, and in a content that was sealed again. What changes nothing, or was
tried, does not count. Whatever it is, nothing is done but reading, nothing takes long, and nothing is left that a whole
file does not leave, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.campaign.bytes_damage import Damage, damaged, damages, flips, flips_in_frame
from tests.campaign.drawing import each
from tests.campaign.figures import Figure
from tests.campaign.guard import Seen, attempt
from tests.campaign.kind import Kind
from tests.campaign.kinds import all_kinds
from tests.campaign.structures import Mutant, mutants
from tests.campaign.values import plain

BYTES, STRUCTURES, FLIPS = 60, 60, 120  # of each kind, with share 1
LEAST = 12  # corruptions of each kind
SMALL = 0.1  # a smaller share has a third of the kinds, and 4 of each
SHORT, CUT = 600, " [...] "  # of a file of so many bytes no line is cut; where it would be
NO_FILE: dict[str, Callable[[Path], Any]] = {
    "nothing is there": lambda path: None,
    "a folder is there": lambda path: path.mkdir(),
    "a pipe is there": os.mkfifo,
    "a device is there": lambda path: path.symlink_to("/dev/zero"),
    "a link to nowhere is there": lambda path: path.symlink_to("nowhere"),
}
FOUND, SAME, OTHER = "refused with a message", "read as it was", "other values"


class Whole(NamedTuple):
    """A whole file of a kind.

    kind, path, raw: what it is, where it is, its bytes.
    value: what is read of it.
    tried: hashes of what was tried in its place.
    names: of all that is in its folder after it was read.
    """

    kind: Kind
    path: Path
    raw: bytes
    value: Any
    tried: set[bytes]
    names: set[str]

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
    return Whole(kind, path, raw, value, {hashlib.sha256(raw).digest()}, _names(folder))


def _names(folder: Path) -> set[str]:
    return {os.path.join(where, name) for where, folders, files in os.walk(folder) for name in (*folders, *files)}  # noqa: PTH118


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
    kept = folder.parent / "faults" / f"{figure.tried}-{zlib.crc32(content):08x}"
    if _read(file, what, len(content), figure, is_shown, folder, f" (kept as {kept})"):
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(content)


def try_none(file: Whole, figure: Figure, folder: Path) -> None:
    """Read where there is no file, or something that is none, and count what comes of it."""
    for what, put in NO_FILE.items():
        file.path.unlink(missing_ok=True)
        put(file.path)
        _read(file, what, 0, figure, False, folder)
        shutil.rmtree(file.path) if file.path.is_dir() else file.path.unlink(missing_ok=True)


def _read(file: Whole, what: str, size: int, figure: Figure, is_shown: bool, folder: Path, kept: str = "") -> str:
    """Read what stands in a whole file's place, count it, and say what must not be."""
    with quietly():
        seen = attempt(lambda: SAME if plain(file.kind.read(file.path)) == file.value else OTHER, folder)
    fault = seen.fault or _other_than_it_must(seen, size, is_shown) or _left(file, folder)
    if seen.line and file.path.name not in seen.line and str(folder) not in seen.line:
        fault = fault or f"its line names neither the file nor a place beside it: {seen.line}"
    if fault:
        fault = f"{file.kind.name}: {what}: {fault}{kept}"
    figure.add("not survived" if fault else seen.value or FOUND, seen.seconds, fault)
    return fault


def _other_than_it_must(seen: Seen, size: int, is_shown: bool) -> str:
    if seen.value == OTHER and is_shown:
        return "other values are read"
    if CUT in seen.line and size <= SHORT:
        return f"its line is cut, and the file has {size} bytes: {seen.line}"
    return ""


def _left(file: Whole, folder: Path) -> str:
    """What is there that reading the whole file has not left; removed."""
    more = sorted(_names(folder) - file.names - {str(file.path)})
    for name in more:
        Path(name).unlink() if not Path(name).is_dir() else shutil.rmtree(name)
    return f"it leaves {more[0]}" if more else ""


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


def corrupt(file: Whole, counters: Counters, seed: int, wanted: int, folder: Path) -> None:
    """Damage a file so often, in its bytes, and half of them in its structure where that is known."""
    changes = mutants(file.raw, file.kind)

    def by_structure(change: Mutant) -> bool:
        try:
            content = change.make()
        except (UnicodeEncodeError, OverflowError, ValueError, TypeError):  # nobody can write that
            return False
        if not file.is_new(content):
            return False
        is_shown = file.kind.checked and not change.is_sealed
        row = counters.of(file.kind, change.is_sealed)
        try_one(file, content, f"{change.what} (seed {seed})", row, is_shown, folder)
        return True

    structures, name = 0, f"{seed} {file.kind.name}"
    if changes is not None:
        structures = each(changes, wanted // 2, name, by_structure)
    each(damages(file.raw), wanted - structures, name, _by_bytes(file, counters, seed, folder))


def _by_bytes(file: Whole, counters: Counters, seed: int, folder: Path) -> Callable[[Damage], bool]:
    def by_bytes(how: Damage) -> bool:
        content = damaged(file.raw, how)
        if not file.is_new(content):
            return False
        try_one(file, content, f"{how} (seed {seed})", counters.of(file.kind), file.kind.checked, folder)
        return True

    return by_bytes


def flip(file: Whole, counters: Counters, seed: int, wanted: int, folder: Path) -> None:
    """Flip so many single bits, half of them in the file's frame."""
    by_bytes, name = _by_bytes(file, counters, seed, folder), f"{seed} {file.kind.name}"
    in_frame = each(flips_in_frame(file.raw), wanted // 2, name, by_bytes)
    each(flips(file.raw), wanted - in_frame, name, by_bytes)


_Trying = Callable[[Whole, Counters, int, int, Path], None]


def over_all_kinds(name: str, trying: _Trying, most: int, scratch: Path, seed: int, share: float) -> list[Figure]:
    """What came of all kinds, each tried that share of `most`, in rows."""
    counters, wanted = Counters.named(name), max(LEAST, round(most * share)) if share >= SMALL else 4
    for number, kind in enumerate(all_kinds()):
        if share < SMALL and number % 3 != seed % 3:
            continue
        folder = scratch / str(number)
        file = whole(kind, folder)
        trying(file, counters, seed, wanted, folder)
        shutil.rmtree(folder)
    return [row for row in counters if row.tried]


def run(scratch: Path, seed: int, share: float) -> list[Figure]:
    """Part "corruptions"."""
    return over_all_kinds("corruptions of files", corrupt, BYTES + STRUCTURES, scratch, seed, share)
