"""How all figures of a report look: colours, names, axes, legends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Sequence

from modprompt.storage.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c", "#ccb974", "#64b5cd")
MOST_METHODS = 12  # methods whose bars or curves can be told apart, data set by data set


def shown(text: str) -> str:
    """A name as matplotlib draws it as it is: in one line, no formulas in it, and not hidden by its first letter."""
    text = one_line(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def colour(number: int) -> str:
    """The colour of a method by its place; the tenth has the first's again."""
    return COLOURS[number % len(COLOURS)]


def tidy(axes: Axes) -> None:
    """Take away what needs no ink, and put levels behind what is drawn."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)


def _legend_columns(width: float, labels: Sequence[str]) -> int:
    """Columns of a legend that fit into a figure's width in inches."""
    return max(1, min(len(labels), int(width / (0.5 + 0.085 * max(map(len, labels))))))


def legend_height(width: float, labels: Sequence[str]) -> float:
    """Inches that the legend takes above the panels."""
    return 0.3 + 0.19 * -(-len(labels) // _legend_columns(width, labels))


def top_legend(fig: Figure, *panels: Axes) -> None:
    """One legend above all panels, of what is drawn in those that are given, each label once."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            found.setdefault(label, handle)
    labels = list(found)
    columns = _legend_columns(fig.get_figwidth(), labels)
    fig.legend(list(found.values()), labels, ncols=columns, loc="outside upper center", fontsize=9, frameon=False)
