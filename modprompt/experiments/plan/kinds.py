"""What is known of a trainer by its name: the one place where experiments ask."""

from __future__ import annotations

from modprompt.methods.table import ZERO_SHOT, kind_of


def trains(trainer: str) -> bool:
    """Whether a trainer has something to train; one that is not ours has."""
    return kind_of(trainer) != ZERO_SHOT
