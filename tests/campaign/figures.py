"""What a part of the campaign has tried and seen, and the table of all."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass
class Figure:
    """A row of the table: what was tried, how often, and what came of it.

    Args:
        name: what was tried.
        tried: how often.
        outcomes: what came of it, by a word, e.g. {"refused with a message": 480, "read as it was": 20}.
        faults: a line for each that was not survived, with what repeats it.
        longest_s: the longest one took, in seconds.
        unchecked: of a kind that carries no checksum: other values were counted in `outcomes`, and are no fault.
    """

    name: str
    tried: int = 0
    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    faults: list[str] = dataclasses.field(default_factory=list)
    longest_s: float = 0.0
    unchecked: bool = False

    def add(self, outcome: str, seconds: float = 0.0, fault: str = "") -> None:
        """Count one that was tried; a fault is a line."""
        self.tried += 1
        self.outcomes[outcome] += 1
        self.longest_s = max(self.longest_s, seconds)
        if fault:
            self.faults.append(fault)

    @property
    def row(self) -> str:
        """What its row is called."""
        return f"{self.name} (no checksum)" if self.unchecked else self.name

    @property
    def survived(self) -> int:
        """How many were."""
        return self.tried - len(self.faults)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "outcomes": dict(self.outcomes), "faults": list(self.faults)}

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> Figure:
        """Back from `as_json`."""
        return cls(**{**content, "outcomes": Counter(content["outcomes"])})


def joined(figures: Sequence[Figure], name: str) -> Figure:
    """Several as one row."""
    whole = Figure(name)
    for one in figures:
        whole.tried += one.tried
        whole.outcomes += one.outcomes
        whole.faults += one.faults
        whole.longest_s = max(whole.longest_s, one.longest_s)
    return whole


def table(figures: Sequence[Figure]) -> str:
    """All rows as Markdown."""
    lines = ["| tried | times | survived | what came of it | longest |", "| --- | ---: | ---: | --- | ---: |"]
    for one in figures:
        seen = ", ".join(f"{count} {word}" for word, count in one.outcomes.most_common())
        lines.append(f"| {one.row} | {one.tried} | {one.survived} | {seen} | {one.longest_s:.1f} s |")
    return "\n".join(lines) + "\n"
