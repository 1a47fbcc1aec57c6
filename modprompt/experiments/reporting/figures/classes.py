"""Figures of single classes: accuracy, and confusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modprompt.experiments.reporting.figures.field import field
from modprompt.experiments.reporting.figures.layout import COLUMN_IN, PAGE_IN, Look, names, panels
from modprompt.experiments.reporting.views import Tested

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

Halves = Mapping[str, Mapping[str, Tested]]  # by half (base, new) and method
_MOST_CLASSES = 20  # of a panel, so that names can be read
_MOST_NUMBERS = 12  # classes whose confusions are written in numbers


def accuracies(halves: Halves, looks: Mapping[str, Look], path: Path) -> str:
    """Accuracy of each class, a mark for each method, a panel for each half; of many classes those that differ most."""
    if not halves:
        return ""
    of_half = {half: {label: one.accuracy_pct() for label, one in tests.items()} for half, tests in halves.items()}
    drawn = {half: _telling(methods) for half, methods in of_half.items()}
    most = max(map(len, drawn.values()))
    size: dict[str, Any] = {"across": len(drawn), "width": PAGE_IN, "high": 0.4 + 0.17 * most}
    with panels(path, list(drawn), **size) as grid:
        for axes, (half, classes) in zip(grid, drawn.items()):
            of_class = [[own[name] for own in of_half[half].values() if name in own] for name in classes]
            axes.hlines(range(len(classes)), [min(of) for of in of_class], [max(of) for of in of_class], "0.75", lw=1.2)
            for number, (label, look) in enumerate(looks.items()):
                own = of_half[half].get(label, {})
                rows = [row for row, name in enumerate(classes) if name in own]
                axes.plot(
                    [own[classes[row]] for row in rows], rows, **look.mark(), ms=5, label=look.name, zorder=9 - number
                )
            axes.grid(visible=False)
            axes.grid(axis="x")
            axes.set_yticks(range(len(classes)), list(names(classes, 24).values()), fontsize=7)
            axes.tick_params(axis="y", length=0)
            axes.set(ylim=(most - 0.5, -0.5), xlabel="accuracy (%)")
    wholes = {half: len({name for own in methods.values() for name in own}) for half, methods in of_half.items()}
    said = _of_many("Those classes in which methods differ most", drawn, wholes)
    return f"Accuracy of each class, of the images of all seeds together.{said}"


def _of_many(what: str, drawn: Mapping[str, Sequence[Any]], wholes: Mapping[str, int]) -> str:
    """A sentence on halves of which not all classes are drawn."""
    counts = [f"{len(own)} of {wholes[half]} ({half})" for half, own in drawn.items() if len(own) < wholes[half]]
    return f" {what}: {', '.join(counts)}." if counts else ""


def _telling(methods: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The classes that are drawn, those with the highest accuracy of the first method on top."""
    classes = list(dict.fromkeys(name for own in methods.values() for name in own))
    spread = {name: np.ptp([own[name] for own in methods.values() if name in own]) for name in classes}
    kept = set(sorted(classes, key=lambda name: -spread[name])[:_MOST_CLASSES])
    first = next(iter(methods.values()))
    return sorted((name for name in classes if name in kept), key=lambda name: -first.get(name, 0.0))


def confusions(halves: Halves, path: Path) -> str:
    """What classes were taken for, in percent of a class's images: a row of panels for each half, one for each method.

    The first method of a half says which classes are drawn; others are next to it if they have the same classes.
    """
    if not halves:
        return ""
    first = {half: next(iter(tests.values())) for half, tests in halves.items()}
    kept = {half: _mixed_up(one.confusion) for half, one in first.items()}
    rows = [
        [(half, label) for label, one in tests.items() if one.names == first[half].names]
        for half, tests in halves.items()
    ]
    across, most = max(map(len, rows)), max(map(len, kept.values()))
    places = [place for row in rows for place in (*row, *[("", "")] * (across - len(row)))]
    titles = [f"{label}, {half}" if half else "" for half, label in places]
    width = min(PAGE_IN, COLUMN_IN * across)
    high = 1.1 + min(width / across - 0.6, 0.13 * most + 0.6)
    axis = {"x": "predicted class (% of the true class's images)", "y": "true class"}
    with panels(path, titles, across=across, width=width, high=high, **axis) as grid:
        for number, (axes, (half, label)) in enumerate(zip(grid, places)):
            if half:
                _confusion(axes, halves[half][label], kept[half], named=number % across == 0)
    wholes = {half: len(one.names) for half, one in first.items()}
    said = _of_many("The classes that are mixed up most", kept, wholes)
    return f"What the images of a class (row) were taken for (column), in percent, of all seeds together.{said}"


def _mixed_up(confusion: NDArray[np.int64]) -> list[int]:
    """The classes that are mixed up most, in their order; all if they can be read."""
    wrong = confusion - np.diag(np.diagonal(confusion))
    most = np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")[:_MOST_CLASSES]
    return sorted(int(number) for number in most)


def _confusion(axes: Axes, tested: Tested, kept: Sequence[int], named: bool) -> None:
    images = np.maximum(tested.confusion.sum(axis=1), 1)[:, None]
    shares = (100 * tested.confusion / images)[np.ix_(kept, kept)]
    few = len(kept) <= _MOST_NUMBERS
    field(axes, shares, 0, 100, lambda share: f"{share:.0f}" if few and round(share) else "", 6)
    texts = list(names([tested.names[number] for number in kept], 18).values())
    axes.set_xticks(range(len(kept)), texts, fontsize=6, rotation=90)
    axes.set_yticks(range(len(kept)), texts if named else [""] * len(texts), fontsize=6)
