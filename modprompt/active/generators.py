"""The states of all random generators as plain values, so that a record of a round can hold them."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modprompt.trainers import training_state
from modprompt.trainers.evaluation import take_number

_TENSOR = "tensor"  # the key of one: [type, base64]


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        array = value.cpu().numpy()
        return {_TENSOR: [array.dtype.str, base64.b64encode(array.tobytes()).decode("ascii")]}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _states(value: Any) -> Any:
    if isinstance(value, Mapping):
        if _TENSOR in value:
            kind, text = value[_TENSOR]
            return torch.from_numpy(np.frombuffer(base64.b64decode(text), np.dtype(kind)).copy())
        return {key: _states(item) for key, item in value.items()}
    return [_states(item) for item in value] if isinstance(value, list) else value


def taken() -> dict[str, Any]:
    """The current states of Python's, NumPy's, PyTorch's and the GPUs' generators, as plain values."""
    states: dict[str, Any] = _plain(training_state.random_states())
    return states


def put(states: Mapping[str, Any]) -> None:
    """Put the generators back to what `taken` gave."""
    training_state.restore_random(_states(states))


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """After the block the generators are as before it, whatever it draws."""
    states = training_state.random_states()
    try:
        yield
    finally:
        training_state.restore_random(states)


def take_numbers(count: int) -> None:
    """Draw from PyTorch's generator what so many loaders draw, which the reference makes and we do not."""
    for _ in range(count):
        take_number()
