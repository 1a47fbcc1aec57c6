"""The first of the largest values, whatever order a machine adds in."""

from torch import Tensor

ROUNDING = 1e-12  # of sums of some thousand float64 products of numbers up to 1, with room


def first_largest(values: Tensor, tolerance: float = ROUNDING) -> int:
    """The first position whose value is the largest, within a tolerance.

    Equal points come out of a matrix product with other last digits by their place in it, and on other machines.

    Args:
        values: (n,) float64, n at least 1.
        tolerance: how far below the largest a value counts as equal.

    Returns:
        The position.
    """
    return int((values >= values.max() - tolerance).byte().argmax())
