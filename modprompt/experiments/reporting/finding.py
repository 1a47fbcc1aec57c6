"""The sentence that a page opens with: the main result of its tables, and how sure the seeds are."""

from __future__ import annotations

from modprompt.experiments.plan.experiment import CROSS
from modprompt.experiments.reporting.by_seed import by_seed, minus, not_of_methods_alone
from modprompt.experiments.reporting.intervals import LEVEL
from modprompt.experiments.reporting.measured import Measured
from modprompt.experiments.reporting.table import Cell, Section


def finding(measured: Measured) -> str:
    """Which method has the highest number, by how much over the next, and whether the seeds show it.

    Rows that cannot be compared with the others are left out. Empty where fewer than two methods have a number,
    and for what a feature reports.
    """
    if measured.experiment.added is not None or not measured.sections:
        return ""
    section = measured.sections[-1]
    best = _ranked(section)[:2]
    if len(best) < 2:
        return ""
    (first, top), (second, next_) = best
    what = f"mean {section.merit}, {section.title}"
    if measured.experiment.protocol in CROSS:
        what = f"mean accuracy on the targets, trained on {measured.experiment.source}"
    equal = f"{top.mean:.2f}" == f"{next_.mean:.2f}"
    start = (
        f"{first} and {second} have the same highest {what}: {_told(top)} and {_told(next_)}"
        if equal
        else f"{first} has the highest {what}: {_told(top)}, {top.mean - next_.mean:.2f} points over the next, {second}"
    )
    return f"{start}; {_sure(measured, section, first, second)}."


def _told(cell: Cell) -> str:
    return f"{cell.mean:.2f}%" if cell.std is None else f"{cell.mean:.2f} ± {cell.std:.2f}%"


def _ranked(section: Section) -> list[tuple[str, Cell]]:
    """Measured rows that are compared, the best first; in few-shot, zero-shot CLIP has its own column."""
    at = section.columns.index(section.deciding)
    found = []
    for row in section.rows:
        cell = row.cells[at] or (row.cells[section.columns.index("0")] if "0" in section.columns else None)
        if not row.source and not row.said and cell is not None:
            found.append((row.label, cell))
    return sorted(found, key=lambda one: -one[1].mean)


def _sure(measured: Measured, section: Section, first: str, second: str) -> str:
    """What the differences over common seeds say."""
    one, other, datasets = measured.line(first), measured.line(second), measured.datasets(section.key)
    if doubts := not_of_methods_alone(measured.results, one, other, datasets):
        return f"seeds are not paired: numbers {' and '.join(doubts)}"
    column = "accuracy" if measured.experiment.protocol in CROSS else section.deciding
    ours, theirs = (by_seed(measured.results, line, datasets, column) for line in (one, other))
    found = minus(one, ours, other, theirs)
    if found is None or len(found.by_seed) < 2:
        return "fewer than two seeds do not show whether that is more than chance"
    if found.interval is None:
        return "all seeds differ by the same amount, which gives no interval"
    low, high = found.interval
    interval = f"{LEVEL}% t interval of the differences of {len(found.by_seed)} seeds: {low:+.2f} to {high:+.2f}"
    says = "the seeds show it" if low > 0 else "no difference that the seeds show"
    if high < 0:  # H of means and means of H can order otherwise
        says = "seed by seed it is the other way"
    return f"{says} ({interval.replace('-', '−')})"
