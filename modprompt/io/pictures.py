"""Pictures without a screen, written whole."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modprompt.io.files import part_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def can_draw() -> bool:
    """Whether matplotlib is installed, which the package does not require."""
    return importlib.util.find_spec("matplotlib") is not None


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure that lays itself out and has no window; matplotlib is imported late, since it takes long."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG that is either complete or not there."""
    with part_of(path) as file:
        figure.savefig(file, dpi=150, format="png")


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
