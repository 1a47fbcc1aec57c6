"""The picture of a search: the weights of each layer's options over the epochs, and the tokens that were chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modprompt.engine.schedule import Schedule
from modprompt.io.pictures import can_draw, new_figure, save_figure
from modprompt.io.safe_open import PathLike
from modprompt.methods.search.file import ALL, Option, SideOfSearch

ACROSS = 6  # layers side by side
_MAPS = ("Blues", "Oranges", "Greens", "Purples", "Reds", "Greys", "YlGn", "PuRd")  # a colour for each removal
_CARRIED, _ADDED, _REMOVED = "#9aa5b1", "#2f6db3", "#d9825b"


def draw(path: PathLike, sides: Mapping[str, SideOfSearch]) -> bool:
    """Write the picture of a search as PNG; without matplotlib nothing is drawn.

    Args:
        path: of the picture.
        sides: "text", "vision" or both; of one that was not searched only tokens are shown.

    Returns:
        Whether it was drawn.
    """
    if not can_draw():
        return False
    rows = {side: _rows(found) for side, found in sides.items()}
    heights = [1.35 * count + 2.6 for count in rows.values()]
    figure = new_figure(12.5, sum(heights))
    parts = figure.subfigures(len(sides), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (side, found) in zip(parts, sides.items()):
        _draw_side(part, side, found, rows[side])
    save_figure(figure, Path(path))
    return True


def _rows(found: SideOfSearch) -> int:
    """Rows of small panels, one for each layer that was searched."""
    return -(-len(found.options) // ACROSS)


def _draw_side(part: Any, side: str, found: SideOfSearch, rows: int) -> None:
    above = "weight of each layer's options by epoch, the chosen one framed; " if found.options else ""
    part.suptitle(f"{side} side: {above}prompt tokens by layer", fontsize=11)
    across = max(1, min(ACROSS, len(found.options)))
    grid = part.add_gridspec(rows + 1, across, height_ratios=[1.0] * rows + [1.5])
    colours = _colours(found.options)
    chosen = _chosen(found)
    for layer, option in enumerate(chosen):
        axes = part.add_subplot(grid[layer // across, layer % across])
        _draw_weights(axes, found, layer, option, colours)
        axes.tick_params(
            labelsize=7, labelleft=layer % across == 0, labelbottom=layer + across >= len(chosen), length=2
        )
    if colours:
        _legend(part, colours)
    _draw_tokens(part.add_subplot(grid[rows, :]), side, found)


def _colours(options: Sequence[Sequence[Option]]) -> dict[Option, Any]:
    """A colour for each option: one hue for each number of removed tokens, darker with more added ones."""
    from matplotlib import colormaps  # late, as all of matplotlib

    known = sorted({option for layer in options for option in layer}, key=_in_order)
    removals = list(dict.fromkeys(remove for remove, _ in known))
    most = max((add for _, add in known), default=0)
    maps = ["viridis_r"] if len(removals) == 1 else _MAPS
    shades = {remove: colormaps[maps[number % len(maps)]] for number, remove in enumerate(removals)}
    return {(remove, add): shades[remove](0.2 + 0.7 * add / max(most, 1)) for remove, add in known}


def _in_order(option: Option) -> tuple[bool, int, int]:
    """By what is removed, all of it last, then by what is added."""
    remove, add = option
    return remove == ALL, remove, add


def _chosen(found: SideOfSearch) -> list[int]:
    """The option of each searched layer that became its step; of two with the same effect, the one with more weight."""
    chosen, present = [], 0
    for layer, options in enumerate(found.options):
        step, last = found.steps[layer], found.alphas[-1][layer]
        same = [n for n, (remove, add) in enumerate(options) if (present if remove == ALL else remove, add) == step]
        chosen.append(max(same, key=lambda number: last[number]))
        present += step[1] - step[0]
    return chosen


def _named(option: Option) -> str:
    remove, add = option
    return f"{'all' if remove == ALL else remove} / {add}"


def _draw_weights(axes: Any, found: SideOfSearch, layer: int, chosen: int, colours: Mapping[Option, Any]) -> None:
    """The softmax of a layer's alphas over the epochs, stacked; the chosen option has a frame."""
    options = found.options[layer]
    alphas = np.array([epoch[layer] for epoch in found.alphas])
    weights = np.exp(alphas - alphas.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    order = sorted(range(len(options)), key=lambda number: _in_order(options[number]))
    shades, tops = [colours[options[number]] for number in order], weights[:, order].cumsum(axis=1)
    axes.stackplot(range(len(alphas)), weights.T[order], colors=shades, edgecolor="white", linewidth=0.4)
    top = tops[:, order.index(chosen)]
    bottom = top - weights[:, chosen]
    axes.fill_between(range(len(alphas)), bottom, top, facecolor="none", edgecolor="black", linewidth=1.2)
    remove, add = found.steps[layer]
    axes.set_title(f"layer {layer}: -{remove} +{add}", fontsize=9)
    axes.set_xlim(0, max(len(alphas) - 1, 1))
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1])
    axes.locator_params(axis="x", integer=True, nbins=4)


def _legend(part: Any, colours: Mapping[Option, Any]) -> None:
    """One legend next to the panels, its options from top to bottom like the areas."""
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=_named(option)) for option, colour in reversed(list(colours.items()))]
    columns = -(-len(handles) // 16)
    part.legend(
        handles=handles, loc="outside right upper", fontsize=8, frameon=False, ncols=columns, title="removed / added"
    )


def _draw_tokens(axes: Any, side: str, found: SideOfSearch) -> None:
    """Tokens of each layer: carried and added upwards, removed downwards; above them the margins of the choices."""
    counts = Schedule(found.steps, side).counts
    removed, added = (np.array(numbers) for numbers in zip(*found.steps))
    carried = np.array(counts) - added
    layers = np.arange(len(counts))
    axes.bar(layers, carried, color=_CARRIED, label="carried")
    axes.bar(layers, added, bottom=carried, color=_ADDED, label="added")
    axes.bar(layers, -removed, color=_REMOVED, label="removed")
    top = max(*counts, 1)
    for layer, margin in enumerate(found.margins):
        axes.text(
            layer, counts[layer] + 0.03 * top, f"{round(margin, 2) + 0.0:+.2f}", ha="center", va="bottom", fontsize=8
        )
    axes.axhline(0, color="k", lw=0.8)
    axes.set_ylim(-max(*removed, 0) - 0.08 * top, 1.2 * top)
    axes.set_xlim(-0.6, len(counts) - 0.4)
    axes.set_xticks(layers)
    axes.locator_params(axis="y", integer=True)
    axes.set_xlabel(
        "layer (from 0)" + (" (above a bar: the margin of the choice)" if found.margins else ""), fontsize=9
    )
    axes.set_ylabel("prompt tokens", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
