"""A case of the benchmark, where it runs, and what it finds: plain values, which go from process to process as JSON."""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple, Sequence

import torch

MANY = {5: 2, 50: 3, 200: 4, 1000: 6}  # classes of a dry run, in place of a card's


class Task(NamedTuple):
    """One case.

    kind: what is measured, a name in benchmarks.gpu.plan.KINDS.
    method: "MPL", "MaPLe", "CoOp" or "CoCoOp", in its reference setting.
    classes: their number.
    precision: PREC.
    how: MODEL.COMPILE of our side, besides eager.
    """

    kind: str
    method: str = "MPL"
    classes: int = 50
    precision: str = "fp16"
    how: str = ""

    @property
    def name(self) -> str:
        """Its name for --only, and of its file."""
        return "-".join(filter(None, (self.kind, self.method, str(self.classes), self.precision, self.how)))

    @property
    def what(self) -> str:
        """What a row says that it is of."""
        return f"{self.method}, {self.classes} classes, {self.precision}"


class Place(NamedTuple):
    """Where a case runs.

    dry_run: on a CPU, in tiny sizes, to see that all of it runs; no figure means anything.
    reference: a checkout of the official MPL repository, or "".
    """

    dry_run: bool
    reference: str = ""

    @property
    def device(self) -> torch.device:
        """The card, or in a dry run the CPU."""
        return torch.device("cpu" if self.dry_run else "cuda")

    def choose(self, card: Any, dry: Any) -> Any:
        """The first on a card, the second in a dry run."""
        return dry if self.dry_run else card

    @property
    def layers(self) -> int:
        """Of each side of the CLIP, which has ViT-B/16's widths."""
        layers: int = self.choose(12, 2)
        return layers

    @property
    def size(self) -> int:
        """Pixels of an image's side."""
        size: int = self.choose(224, 32)
        return size

    def classes(self, task: Task) -> int:
        """How many classes a case really has here."""
        return MANY[task.classes] if self.dry_run else task.classes


class Row(NamedTuple):
    """A row of the table: the figure's name, what was measured, what is asked for, and what it comes from."""

    figure: str
    measured: str
    asked: str = ""
    detail: str = ""


class Found(NamedTuple):
    """What a case finds: rows, and all numbers, as JSON can hold them."""

    rows: Sequence[Row]
    numbers: Mapping[str, Any]


def rows_of(content: Sequence[Sequence[str]]) -> List[Row]:
    """Rows as they come out of JSON."""
    return [Row(*row) for row in content]
