"""Rows of the table: what is asked for, what was measured, and whether it holds."""

from __future__ import annotations

from typing import List, NamedTuple, Sequence

HELD, NOT_HELD, TOLD, NOT_RUN = "held", "NOT held", "told", "not run"
NO_SLOWER = 0.97  # of a ratio of times: a step that arithmetic bounds is as fast either way, and times scatter


class Row(NamedTuple):
    """A row of the table.

    figure: its name.
    asked: what it must be; "" for a figure that is only told, as milliseconds are.
    measured: what it is; of a row that was not run why.
    verdict: HELD, NOT_HELD, TOLD or NOT_RUN.
    detail: what it comes from.
    """

    figure: str
    asked: str
    measured: str
    verdict: str
    detail: str = ""


def told(figure: str, measured: str, detail: str = "") -> Row:
    """A figure that nothing is asked of."""
    return Row(figure, "", measured, TOLD, detail)


def not_run(figure: str, why: str) -> Row:
    """What could not be measured here, which is no fault."""
    return Row(figure, "", f"not run: {why}", NOT_RUN)


def holds(figure: str, asked: str, measured: str, held: bool, detail: str = "", *, judged: bool = True) -> Row:
    """A figure of which something is asked; not judged where it means nothing, as a dry run's ratios do."""
    return Row(figure, asked, measured, (HELD if held else NOT_HELD) if judged else TOLD, detail)


def at_most(figure: str, value: float, most: float, detail: str = "", *, form: str = ".1e", judged: bool = True) -> Row:
    """A figure that may not be larger; one that is no number does not hold."""
    return holds(figure, f"<= {most:g}", format(value, form), value <= most, detail, judged=judged)


def at_least(
    figure: str, value: float, least: float, detail: str = "", *, form: str = ".2f", judged: bool = True
) -> Row:
    """A figure that may not be smaller."""
    return holds(figure, f">= {least:g}", format(value, form), value >= least, detail, judged=judged)


def rows_of(content: Sequence[Sequence[str]]) -> List[Row]:
    """Rows as they come out of JSON."""
    return [Row(*row) for row in content]
