"""Draw how MPL and plain replacement change the prompt tokens, from the schedules that the engine runs.

python -m tools.method_figure            writes docs/method.png, the figure of the README
python -m tools.method_figure --to method.pdf
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modprompt.engine.schedule import Schedule, modular, replacement
from modprompt.programs import report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAYERS, DEPTH = 12, 9
PANELS = (
    ("Replacement (MaPLe, IVLP, VPT; MPL's text encoder): each layer gets new tokens", replacement(LAYERS, DEPTH, 2)),
    (
        "Modular prompting (MPL's image encoder): one removed, two added, the rest carried",
        modular(LAYERS, DEPTH, first=1, remove=1, add=2),
    ),
)
ADDED, CARRIED, REMOVED = "#dd8452", "#4c72b0", "#b0b0b0"
SIDE = 0.62  # of a token; layers are 1 apart
DEFAULT = Path(__file__).resolve().parent.parent / "docs" / "method.png"


class Life(NamedTuple):
    """A token: its place in the stack, the layer before which it is added, and the last one that it enters."""

    place: int
    first: int
    last: int
    is_removed: bool


def lives(schedule: Schedule) -> list[Life]:
    """All tokens of a schedule: in each layer the last ones go, then new ones are appended."""
    present: list[int] = []  # by place, the layer before which each was added
    found: list[Life] = []
    for layer, step in enumerate(schedule):
        for _ in range(step.remove):
            found.append(Life(len(present) - 1, present.pop(), layer - 1, True))
        present += [layer] * step.add
    found += [Life(place, first, len(schedule) - 1, False) for place, first in enumerate(present)]
    return sorted(found, key=lambda life: (life.first, life.place))


def _draw(axes: Axes, title: str, schedule: Schedule) -> None:
    from matplotlib.patches import FancyBboxPatch

    for life in lives(schedule):
        axes.plot([life.first, life.last], [life.place] * 2, color=CARRIED, linewidth=2, zorder=1)
        for layer in range(life.first, life.last + 1):
            colour = ADDED if layer == life.first else CARRIED
            corner = (layer - SIDE / 2, life.place - SIDE / 2)
            box = FancyBboxPatch(corner, SIDE, SIDE, boxstyle="round,pad=0,rounding_size=0.12", color=colour, zorder=2)
            axes.add_patch(box)
        if life.is_removed:
            end = life.last + 0.5
            axes.plot([life.last + SIDE / 2, end], [life.place] * 2, color=REMOVED, linewidth=1.5, zorder=1)
            axes.plot([end], [life.place], "x", color="#c44e52", markersize=5, markeredgewidth=1.6, zorder=3)
    axes.set_title(title, fontsize=10.5, loc="left")
    axes.set_xlim(-0.6, len(schedule) - 0.4)
    axes.set_ylim(-0.6, max(schedule.counts) - 0.3)
    axes.set_xticks(range(len(schedule)), [f"{layer}" for layer in range(len(schedule))])
    axes.set_yticks([])
    axes.set_ylabel("prompt tokens", fontsize=9)
    axes.tick_params(length=0, labelsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)


def figure() -> Figure:
    """Both panels, one below the other, with a legend."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    heights = [max(schedule.counts) + 0.3 for _, schedule in PANELS]
    fig = Figure(figsize=(7.2, 0.36 * sum(heights) + 1.7), layout="constrained")
    panels = fig.subplots(len(PANELS), 1, gridspec_kw={"height_ratios": heights})
    for axes, (title, schedule) in zip(panels, PANELS):
        _draw(axes, title, schedule)
    panels[-1].set_xlabel("transformer layer, counted from 0", fontsize=9)
    square: dict[str, Any] = {"marker": "s", "linestyle": "", "markersize": 9}
    fig.legend(
        [
            Line2D([], [], color=ADDED, **square),
            Line2D([], [], color=CARRIED, **square),
            Line2D([], [], color="#c44e52", marker="x", linestyle="", markersize=6, markeredgewidth=1.6),
        ],
        ["added before this layer", "carried from the previous layer", "removed before the next layer"],
        ncols=3,
        loc="outside upper center",
        fontsize=9,
        frameon=False,
    )
    return fig


def _main(argv: list[str] | None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--to", type=Path, default=DEFAULT, help="the file to write: .png, .pdf or .svg (default: docs/method.png)"
    )
    to = parser.parse_args(argv).to
    figure().savefig(to, dpi=160, facecolor="white")
    print(f"Wrote {to}")


def main(argv: list[str] | None = None) -> int:
    """Draw the figure; 2 after a message on a file that cannot be written."""
    return report(_main, argv)


if __name__ == "__main__":
    raise SystemExit(main())
