"""What `benchmarks.speed --names` measures."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.names import read_names

FEW = 5  # the first names of each file are a row, too
STEP = {5: ">= 1.3", 51: ">= 3.2", 196: ">= 8"}  # bounds of the official code's step over ours, by classes
MEMORY = {196: "<= 0.3"}  # bound of our peak over the official code's
Row = tuple[str, Case, Case, str, int, str]


def _counts(files: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Each file with the number of classes of a row: the first few of the first file, and all of each."""
    sizes = [(path, len(read_names(path))) for path in files]
    first, size = sizes[0]
    if size > FEW:
        yield first, FEW
    yield from sorted(sizes, key=lambda one: one[1])


def rows(files: Sequence[str], reference: str) -> Iterator[Row]:
    """As benchmarks.speed.rows, for files of names: step time of the official code and of the plain one over ours.

    Args:
        files: of class names.
        reference: a checkout of the official MPL repository, or "": then the plain side replaces it.

    Raises:
        UserError: as read_names.
    """
    for path, classes in _counts(files):
        ours = Case("ours", classes=classes, names=path)
        plain = ours._replace(side="plain")
        what = f"{classes} names of {Path(path).name}"
        if reference:
            official, asked = ours._replace(side=reference), STEP.get(classes, "")
            yield f"step time, official MPL / ours, {what}", official, ours, "seconds", 5, asked
            yield f"peak memory, ours / official MPL, {what}", ours, official, "peak_gib", 5, MEMORY.get(classes, "")
        yield f"step time, plain / ours, {what}", plain, ours, "seconds", 5, "" if reference else STEP.get(classes, "")
        if not reference:
            yield f"peak memory, ours / plain, {what}", ours, plain, "peak_gib", 5, MEMORY.get(classes, "")
