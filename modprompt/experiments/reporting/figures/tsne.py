"""Image features of zero-shot CLIP and of a method, each as a t-SNE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modprompt.experiments.reporting.figures.layout import PAGE_IN, look, names, panels

if TYPE_CHECKING:
    from modprompt.experiments.reporting.embedding import Cloud


def clouds(cloud: Cloud, path: Path) -> str:
    """A panel for zero-shot CLIP and one for the method, a look for each class."""
    short = list(names(cloud.classes, 24).values())
    with panels(path, list(cloud.points), across=2, width=PAGE_IN, high=3.2) as grid:
        for axes, points in zip(grid, cloud.points.values()):
            for number, name in enumerate(short):
                own, how = points[cloud.labels == number], look(number + 1, name)
                axes.plot(own[:, 0], own[:, 1], **{**how.mark(), "mew": 0.2}, ms=3.5, alpha=0.8, label=name)
            axes.grid(visible=False)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=True, color="0.8")
    images, classes = cloud.wholes
    part = (
        f"{len(cloud.labels):,} of {images:,} test images" if len(cloud.labels) < images else f"{images:,} test images"
    )
    of = f" of {len(cloud.classes)} of {classes} classes" if len(cloud.classes) < classes else ""
    return (
        f"Image features of {part}{of} as two t-SNEs, each made separately. Distances between groups, and their sizes, "
        "mean nothing; what is near within a panel was near in the features."
    )
