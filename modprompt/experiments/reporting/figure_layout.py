"""How all figures of a report look: sizes of a paper, a look of its own for each method, names, axes, legends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, NamedTuple, Sequence

from modprompt.storage.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WHISKERS = "whiskers are standard deviations over seeds (n in the denominator)"
COLUMN_IN, PAGE_IN = 3.25, 6.875  # inches: one column of a paper, and both
COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c", "#ccb974", "#64b5cd")
_HATCHES = ("", "//////", "......", "xxxxxx", "-----", "\\\\\\")
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LOOKS = len(COLOURS) * len(_HATCHES)  # that differ from each other
MOST_METHODS = 25  # names in a legend that are still read
_MOST_LETTERS = 30  # of a name in a figure
_LETTER_IN, _ROW_IN = 0.062, 0.155  # of a legend


class Look(NamedTuple):
    """How a method is drawn. No two have the same colour and hatch, or the same colour and marker."""

    colour: str
    hatch: str
    marker: str
    line: Any

    def bar(self) -> dict[str, Any]:
        """Of a bar: filled, or light with strokes in its colour."""
        if not self.hatch:
            return {"color": self.colour}
        return {"facecolor": f"{self.colour}38", "edgecolor": self.colour, "hatch": self.hatch, "lw": 0.5}

    def curve(self) -> dict[str, Any]:
        """Of a curve with points: full ones on a whole line, else empty ones."""
        face = "white" if self.hatch else self.colour
        return {"color": self.colour, "marker": self.marker, "mfc": face, "ls": self.line, "ms": 3.5, "lw": 1.2}


def look(number: int) -> Look:
    """The look of a method by its place, below `LOOKS`; neighbours differ in marker, too."""
    again, place = divmod(number % LOOKS, len(COLOURS))
    marker = _MARKERS[(place + 4 * again) % len(_MARKERS)]
    return Look(COLOURS[place], _HATCHES[again], marker, _LINES[again])


def looks(labels: Sequence[str], drawn: Iterable[str]) -> dict[str, Look]:
    """The looks of the methods that a figure draws: those of a report's places, so that all figures agree.

    Args:
        labels: all methods of the report, in its order.
        drawn: those of the figure, at most `LOOKS`.
    """
    drawn = list(drawn)
    places = labels if len(labels) <= LOOKS else drawn
    return {label: look(places.index(label)) for label in drawn}


def shown(text: str) -> str:
    """A name as matplotlib draws it as it is: in one line, no formulas in it, and not hidden by its first letter."""
    text = one_line(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def names(labels: Sequence[str], most: int = _MOST_LETTERS) -> dict[str, str]:
    """Names as a figure shows them: long ones without their middles, unless two would then be one."""
    short = {}
    for label in labels:
        text = one_line(label)
        half = (most - 1) // 2
        short[label] = shown(text if len(text) <= most else f"{text[:half]}…{text[-half:]}")
    return short if len(set(short.values())) == len(set(labels)) else {label: shown(label) for label in labels}


def tidy(axes: Axes) -> None:
    """Take away what needs no ink, and put levels behind what is drawn."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7)


def _legend_columns(width: float, labels: Sequence[str]) -> int:
    """Columns of a legend that fit into a figure's width in inches."""
    return max(1, min(len(labels), int(width / (0.45 + _LETTER_IN * max(map(len, labels))))))


def legend_height(width: float, labels: Sequence[str]) -> float:
    """Inches that the legend takes above the panels."""
    return 0.12 + _ROW_IN * -(-len(labels) // _legend_columns(width, labels))


def top_legend(fig: Figure, *panels: Axes, strong: str = "") -> None:
    """One legend above all panels, of what is drawn in those that are given, each label once.

    Args:
        fig: the figure.
        panels: where to look for labels.
        strong: the label that stands in bold.
    """
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            found.setdefault(label, handle)
    labels = list(found)
    columns = _legend_columns(fig.get_figwidth(), labels)
    legend = fig.legend(
        list(found.values()),
        labels,
        ncols=columns,
        loc="outside upper center",
        fontsize=7,
        frameon=False,
        columnspacing=1.2,
        handlelength=2.2,
        labelspacing=0.3,
    )
    for text in legend.get_texts():
        text.set_fontweight("bold" if text.get_text() == strong else "normal")
