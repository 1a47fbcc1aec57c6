"""The table in Markdown."""

from __future__ import annotations

from typing import List, Mapping, Sequence

from benchmarks.gpu.records import Record

DRY_RUN = "DRY RUN"
HOW = (
    "Random weights of ViT-B/16's size, batch 4 (CoCoOp 1), medians of rounds in turn. A step of the plain and of the "
    "official side reads its loss, as the published trainers do; ours leaves it on the card. In fp16 the official code "
    "runs as it is, in fp32 its `.half()` does nothing."
)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def head(facts: Mapping[str, str]) -> str:
    """On what all of it was measured, in a line."""
    return "; ".join(f"{name} {value}" for name, value in facts.items() if value)


def markdown(records: Sequence[Record], facts: Mapping[str, str], left: Sequence[str], dry_run: bool) -> str:
    """The table of what has run, on what, and which cases are left.

    Args:
        records: of the cases that have run.
        facts: what all of them have in common.
        left: names of those that have not run.
        dry_run: whether no figure means anything; every row says so then.
    """
    mark = f"{DRY_RUN}: " if dry_run else ""
    lines: List[str] = [f"# {mark}MPL, MaPLe, CoOp and CoCoOp on a card, in their reference settings", ""]
    if dry_run:
        lines += [
            f"**{DRY_RUN} on a CPU in tiny sizes: it shows that every case runs. No figure is one of a card.**",
            "",
        ]
    lines += [
        f"{head(facts)}.",
        "",
        HOW,
        "",
        f"| {mark}figure | measured | asked for | detail |",
        "| --- | --- | --- | --- |",
    ]
    for record in records:
        lines += [f"| {mark}{' | '.join(_cell(cell) for cell in row)} |" for row in record.rows]
    failed = [record.task.name for record in records if record.found is None]
    lines += ["", f"{len(records)} cases have run, {len(failed)} of them failed; {len(left)} are left."]
    if left:
        lines += [f"Left: {', '.join(left)}."]
    return "\n".join(lines) + "\n"
