"""Pictures without a screen, written whole."""

from __future__ import annotations

import importlib.util
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
        _write(figure, path, dpi=150, format="png")
    finally:
        pyplot().close(figure)


def save_for_print(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and, for a paper, as PDF of the same name, each complete or not there; let go of it.

    The PDF has its letters as fonts of type 42, which proceedings ask for, and no date, so that equal figures are
    equal files.
    """
    try:
        _write(figure, path, dpi=220, format="png")
        figure.set_layout_engine("none")  # it has laid out all of it, which takes most of the time
        with pyplot().rc_context({"pdf.fonttype": 42}):
            _write(figure, path.with_suffix(".pdf"), format="pdf", metadata={"CreationDate": None})
    finally:
        pyplot().close(figure)


def _write(figure: Figure, path: Path, **how: Any) -> None:
    with part_of(path) as file:
        figure.savefig(file, **how)
