"""Times of several sides' calls, in turn; on a GPU by events, with an empty queue at both ends."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

Calls = Mapping[str, Callable[[int], object]]  # by side, called with 0, 1, 2, ...


def stopwatch(call: Callable[[int], object], count: int, device: torch.device) -> float:
    """Milliseconds of each of `count` calls, on average, from an empty queue to an empty queue."""
    if device.type == "cpu":
        start = time.perf_counter()
        for number in range(count):
            call(number)
        return 1000 * (time.perf_counter() - start) / count
    began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize(device)
    began.record()
    for number in range(count):
        call(number)
    ended.record()
    ended.synchronize()
    return float(began.elapsed_time(ended)) / count


def in_turn(
    calls: Calls, device: torch.device, *, rounds: int, round_ms: float, warm_up: int
) -> dict[str, list[float]]:
    """Milliseconds of a call of each side, one number per round.

    Args:
        calls: the sides.
        device: on which they run.
        rounds: of all sides in turn.
        round_ms: approximate length of a side's part of a round.
        warm_up: calls of each side that do not count, besides one.
    """
    counts = {}
    for name, call in calls.items():
        if warm_up:
            stopwatch(call, warm_up, device)
        counts[name] = max(1, min(50, round(round_ms / stopwatch(call, 1, device))))
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in list(calls) if number % 2 else reversed(list(calls)):  # neither is always the second
            found[name].append(stopwatch(calls[name], counts[name], device))
    return found


def medians(found: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each side's rounds."""
    return {name: statistics.median(rounds) for name, rounds in found.items()}
