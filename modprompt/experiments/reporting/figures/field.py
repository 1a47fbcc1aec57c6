"""A map of numbers, each written into its field."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


def field(
    axes: Axes,
    values: NDArray[Any],
    low: float,
    high: float,
    told: Callable[[float], str],
    letters_pt: float = 6,
    colours: str = "Blues",
) -> None:
    """Draw a map; nan is an empty field.

    Args:
        axes: where.
        values: (rows, columns).
        low: the value of the first colour.
        high: that of the last.
        told: gives the text of a value.
        letters_pt: size of the texts.
        colours: matplotlib's name of a colour map.
    """
    picture = axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text = "" if np.isnan(value) else told(value)
        if text:
            dark = picture.to_rgba(value)[1] < 0.6  # by its green, which decides most of how light it looks
            how: dict[str, Any] = {"ha": "center", "va": "center", "color": "w" if dark else "0.1"}
            axes.text(column, row, text, fontsize=letters_pt, **how)
    down, across = values.shape
    axes.hlines(np.arange(0.5, down - 1), -0.5, across - 0.5, colors="w", lw=0.5)
    axes.vlines(np.arange(0.5, across - 1), -0.5, down - 0.5, colors="w", lw=0.5)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set(visible=True, color="0.8")
