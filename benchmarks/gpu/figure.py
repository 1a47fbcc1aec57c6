"""Step time over the number of classes, a panel for each method."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks.gpu.records import Record
from benchmarks.gpu.table import DRY_RUN, head
from modprompt.experiments.reporting.figures import STYLE, top_legend
from modprompt.io.files import part_of

KINDS = ("step", "compiled")
LOOKS = {  # of each side: colour, marker, line
    "ours": ("#4c72b0", "o", "-"),
    "ours default": ("#8172b3", "^", "-"),
    "ours reduce-overhead": ("#ccb974", "P", "-"),
    "plain": ("#8c8c8c", "v", "--"),
    "official": ("#c44e52", "D", "--"),
}
Curves = dict[str, dict[int, float]]  # by side: milliseconds by number of classes


def curves(records: Sequence[Record]) -> dict[str, Curves]:
    """Step times by method and side; of cases with the same one, the first's."""
    found: dict[str, Curves] = {}
    for record in records:
        if record.found is None or "ms" not in record.found.numbers or record.task.kind not in KINDS:
            continue
        sides, numbers = found.setdefault(record.task.method, {}), record.found.numbers
        for side, ms in numbers["ms"].items():
            sides.setdefault(side, {}).setdefault(record.task.classes, ms)
    return found


def _panel(axes: Axes, method: str, sides: Curves, dry_run: bool) -> None:
    for side, (colour, marker, line) in LOOKS.items():
        points = sorted(sides.get(side, {}).items())
        axes.plot([x for x, _ in points], [y for _, y in points], line, color=colour, marker=marker, label=side)
    classes: list[int] = sorted({number for points in sides.values() for number in points})
    axes.set(xscale="log", yscale="log", title=method, xlabel="classes")
    axes.set_xticks(classes, [str(number) for number in classes])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    if dry_run:
        look: dict[str, Any] = {"color": "#c44e52", "alpha": 0.6, "ha": "center", "va": "center", "rotation": 30}
        axes.text(0.5, 0.5, f"{DRY_RUN}\nnot of a GPU", fontsize=20, transform=axes.transAxes, **look)


def draw(records: Sequence[Record], facts: Mapping[str, str], path: Path, dry_run: bool) -> bool:
    """Write the figure as PNG; False, and nothing is written, if no step was timed."""
    found = curves(records)
    if not found:
        return False
    with style.context(STYLE):
        figure = Figure(figsize=(3.2 * len(found) + 0.6, 4.2))
        panels = figure.subplots(1, len(found), squeeze=False)[0]
        for axes, (method, sides) in zip(panels, found.items()):
            _panel(axes, method, sides, dry_run)
        panels[0].set_ylabel("ms a training step, fp16")
        top_legend(figure, panels)
        figure.supxlabel("\n".join(textwrap.wrap(head(facts), 68 * len(found))), fontsize=6)
        with part_of(path) as file:
            figure.savefig(file, format="png", dpi=150)
    return True
