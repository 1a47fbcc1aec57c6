"""The table in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.gpu.records import Record
from benchmarks.gpu.rows import HELD, NOT_HELD, NOT_RUN, TOLD

DRY_RUN = "DRY RUN"
HOW = (
    "Random weights of ViT-B/16's size, batch 4 (CoCoOp 1), medians of rounds in turn. A step of the plain and of the "
    "official side reads its loss, as the published trainers do; ours leaves it on the GPU. In fp16 the official code "
    "runs as it is, in fp32 its `.half()` does nothing. What is told has no bound: milliseconds and megabytes are of "
    "this machine."
)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def head(facts: Mapping[str, str]) -> str:
    """What all of it was measured on, in a line."""
    return "; ".join(f"{name} {value}" for name, value in facts.items() if value)


def summary(records: Sequence[Record], left: Sequence[str]) -> list[str]:
    """How many rows hold, which do not, and which cases are left."""
    rows = [row for record in records for row in record.rows]
    counts = Counter(row.verdict for row in rows)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in (HELD, NOT_HELD, TOLD, NOT_RUN))
    lines = [f"{len(rows)} rows of {len(records)} cases: {said}; {len(left)} cases are left."]
    wrong = [row.figure for row in rows if row.verdict == NOT_HELD]
    lines += [f"{NOT_HELD}: {'; '.join(wrong)}."] if wrong else []
    return [*lines, *([f"Left: {', '.join(left)}."] if left else [])]


def markdown(records: Sequence[Record], facts: Mapping[str, str], left: Sequence[str], dry_run: bool) -> str:
    """The table of the cases that have run, what they ran on, and the cases that are left.

    Args:
        records: of the cases that have run.
        facts: the same for all of them.
        left: names of the cases that have not run.
        dry_run: whether the figures mean nothing; then every row says so.
    """
    mark = f"{DRY_RUN}: " if dry_run else ""
    lines: list[str] = [f"# {mark}prompt learning on a GPU: asked, measured, held", ""]
    if dry_run:
        lines += [
            f"**{DRY_RUN} on a CPU in tiny sizes: it shows that every case runs. No figure is one of a GPU.**",
            "",
        ]
    lines += [f"{head(facts)}.", "", HOW, ""]
    for line in summary(records, left):
        lines += [_cell(line), ""]
    lines += [f"| {mark}row | asked | measured | held | detail |", "| --- | --- | --- | --- | --- |"]
    for record in records:
        lines += [f"| {mark}{' | '.join(_cell(cell) for cell in row)} |" for row in record.rows]
    return "\n".join(lines) + "\n"
