"""Pictures without a screen, written whole."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from modprompt.storage.parts import part_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def can_draw() -> bool:
    """Whether matplotlib is installed, which the package does not require."""
    return importlib.util.find_spec("matplotlib") is not None


def pyplot() -> ModuleType:
    """Matplotlib's pyplot, drawing to files alone; imported late, since it takes long."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG that is either complete or not there, and let go of it."""
    try:
        with part_of(path) as file:
            figure.savefig(file, dpi=150, format="png")
    finally:
        pyplot().close(figure)


def save_for_print(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and, for a paper, as PDF of the same name, each complete or not there; let go of it.

    The PDF has its letters as fonts of type 42, which proceedings ask for, and no date, so that equal figures are
    equal files.
    """
    try:
        _lay_out(figure)
        with part_of(path) as file:
            _drawn_once("agg", figure, 220).print_png(file)
        with pyplot().rc_context({"pdf.fonttype": 42}), part_of(path.with_suffix(".pdf")) as file:
            _drawn_once("pdf", figure, 72).print_pdf(file, metadata={"CreationDate": None})
    finally:
        pyplot().close(figure)


def _lay_out(figure: Figure) -> None:
    """Place all of a figure for good: laying out takes longer than drawing."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def _drawn_once(kind: str, figure: Figure, dpi: int) -> Any:
    """The figure's canvas of a kind; `savefig` would draw twice for each file."""
    canvas = import_module(f"matplotlib.backends.backend_{kind}").FigureCanvas(figure)
    figure.set_dpi(dpi)
    return canvas
