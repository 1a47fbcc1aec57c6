"""The states of all random generators: kept over a block, and the draws that the reference makes and we do not."""

import contextlib
from collections.abc import Iterator

from modprompt.trainers.evaluation import take_number
from modprompt.trainers.training_state import random_states, restore_random


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """After the block the generators are as before it, whatever it draws."""
    states = random_states()
    try:
        yield
    finally:
        restore_random(states)


def take_numbers(count: int) -> None:
    """Draw from PyTorch's generator what so many loaders draw, which the reference makes and we do not."""
    for _ in range(count):
        take_number()
