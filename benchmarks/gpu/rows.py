"""Rows of the table: the bound, the measured value, and whether it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

HELD, NOT_HELD, TOLD, NOT_RUN = "held", "NOT held", "told", "not run"
NO_SLOWER = 0.97  # least ratio of times: a step bound by arithmetic is as fast either way, and times scatter


class Row(NamedTuple):
    """A row of the table.

    figure: its name.
    asked: what it must be; "" for a figure without a bound, such as milliseconds.
    measured: its value; for a row that was not run, why.
    verdict: HELD, NOT_HELD, TOLD or NOT_RUN.
    detail: what it comes from.
    """

    figure: str
    asked: str
    measured: str
    verdict: str
    detail: str = ""


def told(figure: str, measured: str, detail: str = "") -> Row:
    """A figure without a bound."""
    return Row(figure, "", measured, TOLD, detail)


def not_run(figure: str, why: str) -> Row:
    """A figure that could not be measured here, which is not a fault."""
    return Row(figure, "", f"not run: {why}", NOT_RUN)


def holds(figure: str, asked: str, measured: str, held: bool, detail: str = "", *, judged: bool = True) -> Row:
    """A figure with a bound; not judged if it means nothing, like a dry run's ratios."""
    return Row(figure, asked, measured, (HELD if held else NOT_HELD) if judged else TOLD, detail)


def at_most(figure: str, value: float, most: float, detail: str = "", *, form: str = ".1e", judged: bool = True) -> Row:
    """A figure that may not be larger; NaN does not hold."""
    return holds(figure, f"<= {most:g}", format(value, form), value <= most, detail, judged=judged)


def at_least(
    figure: str, value: float, least: float, detail: str = "", *, form: str = ".2f", judged: bool = True
) -> Row:
    """A figure that may not be smaller."""
    return holds(figure, f">= {least:g}", format(value, form), value >= least, detail, judged=judged)


def rows_of(content: Sequence[Sequence[str]]) -> list[Row]:
    """Rows from JSON."""
    return [Row(*row) for row in content]
