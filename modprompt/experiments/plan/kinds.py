"""What is known of a trainer by its name: the one place where experiments ask."""

from __future__ import annotations


def trains(trainer: str) -> bool:
    """Whether a trainer has something to train; zero-shot ones are known by their name, as in the scripts."""
    return not trainer.startswith("Zeroshot")
