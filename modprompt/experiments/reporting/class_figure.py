"""Pictures of classes: how well each is told, and what it is taken for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Mapping, Sequence

import numpy as np

from modprompt.experiments.reporting.figure_layout import (
    PAGE_IN,
    Look,
    legend_height,
    names,
    shown,
    tidy,
    top_legend,
)
from modprompt.storage.pictures import pyplot, save_for_print

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

ByClass = Mapping[str, Mapping[str, float]]  # accuracy in percent by method and class

_MOST_CLASSES = 20  # of a panel whose names are read
_MOST_NUMBERS = 12  # classes whose confusions are written in numbers


def class_bars(panels: Mapping[str, ByClass], looks: Mapping[str, Look], path: Path) -> str:
    """Accuracy of each class, a bar for each method, a panel for each half; of many classes those that differ most.

    Args:
        panels: accuracies by half (base, new).
        looks: of the methods, in order.
        path: of the figure.
    """
    drawn = {half: _telling(methods) for half, methods in panels.items()}
    texts, most = names(list(looks)), max(map(len, drawn.values()))
    size = (PAGE_IN, 0.6 + (0.06 + 0.08 * len(looks)) * most + legend_height(PAGE_IN, list(texts.values())))
    fig, all_axes = pyplot().subplots(1, len(drawn), figsize=size, layout="constrained", squeeze=False, sharex=True)
    for axes, (half, classes) in zip(all_axes[0], drawn.items()):
        _class_panel(axes, panels[half], looks, texts, classes)
        axes.set_title(shown(half), fontsize=8)
        axes.set_ylim(most - 0.5, -0.5)
    top_legend(fig, *all_axes[0])
    save_for_print(fig, path)
    counts = [_counted(half, len(drawn[half]), _count(panels[half])) for half in panels]
    said = f" Those classes in which methods differ most: {', '.join(filter(None, counts))}." if any(counts) else ""
    return "Accuracy of each class, of the images of all seeds together." + said


def _counted(half: str, shown: int, whole: int) -> str:
    return f"{shown} of {whole} ({half})" if shown < whole else ""


def _count(methods: ByClass) -> int:
    return len({name for classes in methods.values() for name in classes})


def _telling(methods: ByClass) -> list[str]:
    """The classes that are drawn, those with the highest accuracy of the first method on top."""
    classes = list(dict.fromkeys(name for own in methods.values() for name in own))
    spread = {name: np.ptp([own[name] for own in methods.values() if name in own]) for name in classes}
    kept = set(sorted(classes, key=lambda name: -spread[name])[:_MOST_CLASSES])
    first = next(iter(methods.values()))
    return sorted((name for name in classes if name in kept), key=lambda name: -first.get(name, 0.0))


def _class_panel(
    axes: Axes, methods: ByClass, looks: Mapping[str, Look], texts: Mapping[str, str], classes: Sequence[str]
) -> None:
    thick = 0.84 / len(looks)
    for number, (label, look) in enumerate(looks.items()):
        own = methods.get(label, {})
        at = [place + (number - (len(looks) - 1) / 2) * thick for place, name in enumerate(classes) if name in own]
        axes.barh(at, [own[name] for name in classes if name in own], thick, label=texts[label], **look.bar())
    tidy(axes)
    axes.grid(axis="x", color="0.92")
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 100)
    axes.set_yticks(range(len(classes)), list(names(classes, 24).values()), fontsize=6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("accuracy (%)", fontsize=7)


class Confusion:
    """What classes were taken for: (C, C) images, rows by class, and the names."""

    def __init__(self, images: NDArray[np.int64], classes: Sequence[str]):
        self.images, self.classes = images, classes

    def part(self, kept: Sequence[int]) -> Confusion:
        """Some of its classes."""
        return Confusion(self.images[np.ix_(kept, kept)], [self.classes[number] for number in kept])

    def mixed(self) -> list[int]:
        """The classes that are mixed up most, in their order; all where they can be read."""
        wrong = self.images - np.diag(np.diagonal(self.images))
        most = np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")[:_MOST_CLASSES]
        return sorted(int(number) for number in most)


def confusions(panels: Mapping[str, Mapping[str, Confusion]], path: Path) -> str:
    """What classes were taken for, in percent of a class's images: a row of panels for each half, one for each method.

    Args:
        panels: by half and method; all of a half have the same classes, and the first method says which are drawn.
        path: of the figure.
    """
    across = max(map(len, panels.values()))
    kept = {half: next(iter(methods.values())).mixed() for half, methods in panels.items()}
    most = max(map(len, kept.values()))
    each = 1.0 + min(PAGE_IN / across - 0.6, 0.13 * most + 0.6)
    size = (PAGE_IN, each * len(panels))
    fig, all_axes = pyplot().subplots(len(panels), across, figsize=size, layout="constrained", squeeze=False)
    for axes in all_axes.flat:
        axes.set_axis_off()
    for row, (half, methods) in zip(all_axes, panels.items()):
        titles = names(list(methods), 26)
        for number, (axes, (label, whole)) in enumerate(zip(row, methods.items())):
            axes.set_axis_on()
            _confusion(axes, whole, kept[half], named=number == 0)
            axes.set_title(f"{titles[label]}, {shown(half)}", fontsize=8)
    save_for_print(fig, path)
    wholes = {half: len(next(iter(methods.values())).classes) for half, methods in panels.items()}
    counts = [_counted(half, len(kept[half]), wholes[half]) for half in panels]
    said = f" The classes that are mixed up most: {', '.join(filter(None, counts))}." if any(counts) else ""
    return "What the images of a class (row) were taken for (column), in percent, of all seeds together." + said


def _confusion(axes: Axes, whole: Confusion, kept: Sequence[int], named: bool) -> None:
    part = whole.part(kept)
    shares = 100 * part.images / np.maximum(whole.images.sum(axis=1)[list(kept)], 1)[:, None]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    texts, places = list(names(part.classes, 18).values()), range(len(part.classes))
    axes.set_xticks(places, texts, fontsize=5, rotation=90)
    axes.set_yticks(places, texts if named else [""] * len(texts), fontsize=5)
    axes.tick_params(length=0)
    axes.spines[:].set_color("0.8")
    if len(places) <= _MOST_NUMBERS:
        for (row, column), share in np.ndenumerate(shares):
            if round(share):
                axes.text(
                    column,
                    row,
                    f"{share:.0f}",
                    ha="center",
                    va="center",
                    fontsize=5,
                    color="w" if share > 60 else "0.1",
                )
