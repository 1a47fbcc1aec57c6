"""Shared by acquisitions: a pool's matrices in blocks of rows, and the first of the largest values.

A float64 copy of a whole matrix would not fit into memory.

Shapes: U images, C columns.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

ROUNDING = 1e-12  # error of sums of some thousand float64 products of numbers up to 1, with a margin
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


def first_largest(values: Tensor, tolerance: float = ROUNDING) -> int:
    """The first position whose value is the largest, within a tolerance.

    A matrix product gives equal points different last digits, by their place in it and by machine.

    Args:
        values: (n,) float64, n at least 1.
        tolerance: how far below the largest a value counts as equal.

    Returns:
        The position.
    """
    return int((values >= values.max() - tolerance).byte().argmax())
