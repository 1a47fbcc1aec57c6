"""Checks of single settings; the messages begin with the setting's name."""

import math
from typing import Sequence

from modprompt.errors import UserError


def at_least(name: str, value, least) -> None:
    """Raise UserError unless value >= least."""
    if value < least:
        raise UserError(f"{name} must be at least {least}, got {value}")


def finite_at_least(name: str, value, least) -> None:
    """Raise UserError unless value is a finite number >= least."""
    if not math.isfinite(value) or value < least:
        raise UserError(f"{name} must be a number from {least} up, got {value}")


def one_of(name: str, value, allowed: Sequence) -> None:
    """Raise UserError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise UserError(f"{name} must be one of {', '.join(map(str, allowed))}, got {value!r}")
