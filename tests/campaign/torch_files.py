"""Part "torch files": hostile files, handed to everything that reads such files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modprompt.clip import reading
from modprompt.io.checkpoint import read as read_checkpoint
from modprompt.io.tensors import read_run, read_tensors
from tests.campaign.drawing import each
from tests.campaign.figures import Figure
from tests.campaign.guard import Seen, attempt
from tests.modprompt.io import hostile, hostile_files

FILES = {  # of each kind, with share 1
    "calls": 200,
    "bombs": 300,
    "streams": 500,
    "structures": 500,
    "odd archives": 300,
    "damaged archives": 200,
    "damaged old files": 200,
    "others": 100,
}
_LONGEST_CONTENT = 10_000  # characters of what is read, printed: the files are small
REFUSED, PLAIN = "refused with a message", "read as plain values"
READERS: dict[str, Callable[[Path], Any]] = {
    "checkpoint": read_checkpoint,
    "training state": lambda path: read_tensors(path, mapped=False),
    "CLIP file": reading.read_file,
    "Dassl's checkpoint": read_run,
}


def run(scratch: Path, seed: int, share: float) -> list[Figure]:
    """A row: files tried. Each counts once, as read if any reader has read it."""
    figure, target = Figure("hostile torch files"), scratch / "canary"
    hostile.writing_archive(target)  # compiled once
    for kind, strategy in hostile_files.kinds(target).items():
        files = Files(scratch, figure, f"{kind}, seed {seed}")
        each(strategy, max(1, round(FILES[kind] * share)), f"{seed} {kind}", files.hand_out)
    return [figure]


class Files:
    """Hands files out to all readers, and counts what comes of it.

    Args:
        scratch: where they may write.
        figure: counts.
        what: the files are, for faults.
    """

    def __init__(self, scratch: Path, figure: Figure, what: str) -> None:
        self.scratch, self.figure, self.what = scratch, figure, what
        self.target, self.path = scratch / "canary", scratch / "file"

    def hand_out(self, content: bytes) -> None:
        """Have every reader read a file."""
        self.path.write_bytes(content)
        seen = {reader: self._read(read) for reader, read in READERS.items()}
        faults = [f"{one.fault} ({who}; {self.what}, {self._keep(content)})" for who, one in seen.items() if one.fault]
        word = REFUSED if all(one.line for one in seen.values()) else PLAIN
        self.figure.add(word, max(one.seconds for one in seen.values()), "; ".join(faults[:1]))

    def _read(self, read: Callable[[Path], Any]) -> Seen:
        """What comes of a file; its content must be small, however it is printed."""
        seen = attempt(lambda: len(str(read(self.path))), self.scratch)
        if os.path.lexists(self.target):
            shutil.rmtree(self.target) if self.target.is_dir() else self.target.unlink()
            return seen._replace(fault=f"it was run: the canary was there {seen.fault}")
        if not seen.fault and not seen.line and seen.value > _LONGEST_CONTENT:
            return seen._replace(fault=f"a content of {seen.value} characters")
        return seen

    def _keep(self, content: bytes) -> str:
        kept = self.scratch / "faults" / str(self.figure.tried)
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(content)
        return str(kept)
