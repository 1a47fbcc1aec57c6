"""Pictures without a screen, written whole."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

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
