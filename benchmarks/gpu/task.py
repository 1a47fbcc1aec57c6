"""A case of the benchmark, where it runs, and what it finds: plain values, passed between processes as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from benchmarks.gpu.rows import Row

MANY = {4: 4, 5: 2, 10: 10, 50: 3, 200: 4, 1000: 6}  # classes of a dry run, in place of a GPU's


class Task(NamedTuple):
    """One case.

    kind: what is measured, a name in benchmarks.gpu.plan.KINDS.
    method: a method in its reference setting; "" for none.
    classes: their number; 0 if it does not matter.
    precision: PREC.
    how: MODEL.COMPILE of our side, besides eager.
    """

    kind: str
    method: str = ""
    classes: int = 0
    precision: str = ""
    how: str = ""

    @property
    def name(self) -> str:
        """Its name for --only, and of its file."""
        return "-".join(filter(None, (self.kind, self.method, str(self.classes or ""), self.precision, self.how)))

    @property
    def what(self) -> str:
        """Its description in a row."""
        return f"{self.method}, {self.classes} classes, {self.precision}"


class Place(NamedTuple):
    """Where a case runs.

    dry_run: on a CPU, in tiny sizes, to see that all of it runs; the figures mean nothing.
    reference: a checkout of the official MPL repository, or "".
    folder: of the records; a case may read what another one found.
    on_cpu: whether this is the CPU's side of a comparison, in a GPU's sizes.
    """

    dry_run: bool
    reference: str = ""
    folder: str = ""
    on_cpu: bool = False

    @property
    def device(self) -> torch.device:
        """The GPU, or the CPU."""
        return torch.device("cpu" if self.dry_run or self.on_cpu else "cuda")

    def choose(self, gpu: Any, dry: Any) -> Any:
        """The first value; the second in a dry run."""
        return dry if self.dry_run else gpu

    @property
    def layers(self) -> int:
        """Layers of each side of the CLIP, which has ViT-B/16's widths."""
        layers: int = self.choose(12, 2)
        return layers

    @property
    def size(self) -> int:
        """Pixels of an image's side."""
        size: int = self.choose(224, 32)
        return size

    def classes(self, task: Task) -> int:
        """The actual number of classes of a case here."""
        return MANY[task.classes] if self.dry_run else task.classes


class Found(NamedTuple):
    """What a case finds: rows, and all numbers, in types that JSON can hold."""

    rows: Sequence[Row]
    numbers: Mapping[str, Any]
