"""How all figures of a report are laid out: panels in sizes of a paper, an own look for each method, a legend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from modprompt.io.files import part_of
from modprompt.io.text import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN_IN, PAGE_IN = 3.25, 6.875  # inches: one column of a paper, and both
_ALONE_IN = 4.8  # width of a panel without others
# after Okabe and Ito, with a dark red for yellow, which white paper hides: the colour-blind tell them apart
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#882255")
ZERO_SHOT = "#767676"
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LOOKS = 1 + (len(COLOURS) - 1) * len(_MARKERS)  # that differ: the first has its colour alone, 7 and 8 are coprime
MOST_METHODS = 25  # rows of a figure, or names in it, that can still be read
MOST_PANELS = 36  # of a page
MOST_WHISKERS = 4  # curves of a panel whose whiskers can be told apart
WHISKERS = "whiskers are standard deviations over seeds (n in the denominator)"
_MOST_LETTERS = 30  # of a name in a figure
_LETTER_IN, _ROW_IN = 0.062, 0.155  # of a legend
STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelsize": 8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "errorbar.capsize": 1.5,
    "figure.labelsize": 8,
    "grid.color": "0.92",
    "legend.columnspacing": 1.2,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.labelspacing": 0.3,
    "pdf.fonttype": 42,  # letters as proceedings ask for
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}


def can_draw() -> bool:
    """Whether matplotlib is installed, which the package does not require."""
    return find_spec("matplotlib") is not None


@contextmanager
def panels(
    path: Path,
    titles: Sequence[str],
    *,
    across: int = 0,
    width: float = 0.0,
    high: float = 0.0,
    x: str = "",
    y: str = "",
    strong: str = "",
    **shared: Any,
) -> Iterator[list[Axes]]:
    """The axes of a figure, for a block that draws into them; after it the figure gets its legend and is written.

    Args:
        path: of the PNG; the PDF has the same name.
        titles: of the panels, row by row; axes in which nothing is drawn stay blank.
        across: panels in a row; at most four unless it is given.
        width: of the figure in inches; without it that of a page, or less for a panel alone.
        high: inches of a row.
        x: what the axes of all panels are.
        y: the same for the vertical ones.
        strong: the name in bold in the legend.
        shared: `sharex`, `sharey` and `gridspec_kw`, as for `subplots`.
    """
    import matplotlib
    from matplotlib.figure import Figure

    across = across or min(4, len(titles))
    down = -(-len(titles) // across)
    high = high or (2.8 if len(titles) == 1 else 2.1 if across < 4 else 1.75)
    with matplotlib.rc_context(STYLE):
        size = (width or (PAGE_IN if len(titles) > 1 else _ALONE_IN), 0.2 + high * down)
        fig = Figure(figsize=size, layout="constrained")
        grid = list(fig.subplots(down, across, squeeze=False, **shared).flat)
        short = names(titles, 100 // across)
        for axes, title in zip(grid, titles):
            axes.set_title(short[title])
        yield grid
        for axes in grid:
            if not axes.has_data():
                axes.set_axis_off()
        if x or y:
            fig.supxlabel(x)
            fig.supylabel(y)
        top_legend(fig, grid, strong)
        save_for_print(fig, path)


def save_for_print(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and, for a paper, as PDF of the same name, each complete or not there.

    The PDF has no date, so that equal figures are equal files. All is placed once and drawn once for each file:
    `savefig` would do both twice, and that takes most of a report's time.
    """
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
    with part_of(path) as file:
        _canvas("agg", figure, 220).print_png(file)
    with part_of(path.with_suffix(".pdf")) as file:
        _canvas("pdf", figure, 72).print_pdf(file, metadata={"CreationDate": None})


def _canvas(kind: str, figure: Figure, dpi: int) -> Any:
    canvas = import_module(f"matplotlib.backends.backend_{kind}").FigureCanvas(figure)
    figure.set_dpi(dpi)
    return canvas


def top_legend(fig: Figure, drawn: Iterable[Axes], strong: str = "") -> None:
    """One legend above all panels, each name once, in as many columns as there is room for; the figure grows by it.

    Args:
        fig: the figure.
        drawn: where to look for names.
        strong: the one in bold.
    """
    found: dict[str, Any] = {}
    for axes in drawn:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            found.setdefault(label, handle)
    if not found:
        return
    fits = int(fig.get_figwidth() / (0.45 + _LETTER_IN * max(map(len, found))))
    columns = max(1, min(len(found), fits))
    fig.set_figheight(fig.get_figheight() + 0.12 + _ROW_IN * -(-len(found) // columns))
    legend = fig.legend(list(found.values()), list(found), ncols=columns, loc="outside upper center")
    for text in legend.get_texts():
        text.set_fontweight("bold" if text.get_text() == strong else "normal")


class Look(NamedTuple):
    """How a method is drawn and what it is called. No two have the same colour and marker."""

    name: str
    colour: str
    marker: str

    def mark(self) -> dict[str, Any]:
        """Of a point without a line."""
        return {"color": self.colour, "marker": self.marker, "mec": "white", "mew": 0.4, "ls": "none"}

    def curve(self) -> dict[str, Any]:
        """Of a curve with points."""
        return {"label": self.name, "color": self.colour, "marker": self.marker, "ms": 3.5, "lw": 1.2}

    def level(self) -> dict[str, Any]:
        """Of a level line: a method that trains nothing."""
        return {"label": self.name, "color": self.colour, "ls": (0, (4, 2)), "lw": 1.2}


def look(number: int, name: str = "") -> Look:
    """The look of a method by its place, below `LOOKS`; neighbours differ in colour and marker."""
    first, *others = COLOURS
    colour = others[(number - 1) % len(others)] if number else first
    return Look(name, colour, _MARKERS[number % len(_MARKERS)])


def looks(labels: Sequence[str], mine: Sequence[str] = (), untrained: Sequence[str] = ()) -> dict[str, Look]:
    """The one place that decides how methods look, for a whole page with all of its parts.

    Args:
        labels: all methods of the page, in its order. More than `LOOKS` share them.
        mine: those that its reports are about, which have the first looks.
        untrained: zero-shot CLIP, which is grey.
    """
    first = [label for label in dict.fromkeys(mine) if label in labels and label not in untrained]
    rest = [label for label in dict.fromkeys(labels) if label not in first and label not in untrained]
    found = {label: look(number, label) for number, label in enumerate([*first, *rest])}
    return {**found, **{label: Look(label, ZERO_SHOT, "o") for label in untrained if label in labels}}


def shown(text: str) -> str:
    """A name that matplotlib draws as it is: in one line, without formulas, and not hidden by its first letter."""
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


def first_of(shown: int, whole: int, what: str) -> str:
    """A sentence on a figure that has no space for all."""
    return f" The first {shown} of {whole} {what}." if shown < whole else ""
