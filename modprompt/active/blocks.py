"""A pool's matrices in blocks of rows: what is computed of them, in float64, would not fit beside them.

Shapes: U images, C columns.
"""

from typing import Callable, Iterator

import torch
from torch import Tensor

NUMBERS = 2**25  # of a block: 256 MiB in float64; smaller pools are one block


def rows_of(matrix: Tensor) -> int:
    """How many rows (U, ...) of a matrix a block has."""
    return max(1, NUMBERS // max(1, matrix[:1].numel()))


def of(matrix: Tensor) -> Iterator[Tensor]:
    """A matrix (U, ...), block by block; one without rows is one block."""
    yield from matrix.split(rows_of(matrix))


def by_row(function: Callable[[Tensor], Tensor], matrix: Tensor) -> Tensor:
    """A function's values (U,) for the rows of a matrix (U, C), given to it in blocks, in float64."""
    return torch.cat([function(block.double()) for block in of(matrix)])
