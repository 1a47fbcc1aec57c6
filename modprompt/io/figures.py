"""Draw figures with matplotlib: panels with one legend, colours that stay the same, and PNG and PDF files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modprompt.io.files import part_of
from modprompt.io.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("figures.mplstyle")
WIDTH = 7.0  # inches of a figure across a page
# Okabe and Ito's colours, which people with colour blindness can distinguish, with dark red in place of yellow, which
# is hard to see on white paper
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#882255")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LONGEST_NAME = 30  # letters
WHY_NONE = "because matplotlib is missing. Install it with `pip install matplotlib`."
Look = dict[str, Any]  # colour and marker of a method


def can_draw() -> bool:
    """Return True if matplotlib, which is optional, is installed."""
    return find_spec("matplotlib") is not None


def look(number: int) -> Look:
    """Return the colour and marker of method `number`: the first 57 differ, and only the first has its colour."""
    first, *others = COLOURS
    return {"color": others[(number - 1) % 7] if number else first, "marker": _MARKERS[number % 8]}


def short_name(text: str, longest: int = _LONGEST_NAME) -> str:
    """Return a name in one line that matplotlib draws literally; the middle of a long name is left out."""
    text, half = one_line(text), (longest - 1) // 2
    text = (text if len(text) <= longest else f"{text[:half]}…{text[-half:]}").replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


@contextlib.contextmanager
def panels(
    path: Path, titles: Sequence[str], across: int = 0, *, high: float = 2.4, legend: bool = True, **options: Any
) -> Iterator[list[Axes]]:
    """Yield the axes of a figure, and write the figure when the block ends.

    Args:
        path: path of the PNG file; the PDF file has the same name.
        titles: titles of the panels, row by row.
        across: number of panels in a row (0: at most three).
        high: height of a row in inches.
        legend: whether the figure has a legend above the panels, in which each name occurs once.
        options: further arguments of `Figure.subplots`.
    """
    import matplotlib.style
    from matplotlib.figure import Figure

    across = across or min(3, len(titles))
    down = -(-len(titles) // across)
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(WIDTH if across > 1 else 0.75 * WIDTH, 0.5 + high * down))
        grid = list(figure.subplots(down, across, squeeze=False, **options).flat)
        for axes, title in zip(grid, titles):
            axes.set_title(short_name(title, 100 // across))
        for axes in grid[len(titles) :]:
            axes.set_axis_off()
        yield grid[: len(titles)]
        if legend:
            _add_legend(figure, grid)
        save(figure, path)


def _add_legend(figure: Figure, grid: Sequence[Axes]) -> None:
    handles: dict[str, Any] = {}
    for axes in grid:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    if handles:
        columns = max(1, int(figure.get_figwidth() / (0.5 + 0.085 * max(map(len, handles)))))
        figure.set_figheight(figure.get_figheight() + 0.2 * -(-len(handles) // columns))
        figure.legend(list(handles.values()), list(handles), ncols=columns, loc="outside upper center")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and as PDF, each atomically.

    The PDF file has no date, so that equal figures are equal files. The layout is computed once, because `savefig`
    would compute it four times.
    """
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
    for kind, ending, dpi in (("agg", ".png", 220), ("pdf", ".pdf", 72)):
        canvas: Any = import_module(f"matplotlib.backends.backend_{kind}").FigureCanvas(figure)
        figure.set_dpi(dpi)
        with part_of(path.with_suffix(ending)) as file:
            canvas.print_png(file) if kind == "agg" else canvas.print_pdf(file, metadata={"CreationDate": None})
