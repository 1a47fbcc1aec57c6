"""What a process has that the next test, or a caller of a `main`, would inherit."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import warnings

import numpy as np
import torch


def generators() -> dict:
    """The states of the generators that a seed sets, as values that can be compared."""
    return {
        "random": random.getstate(),
        "numpy": repr(np.random.get_state(legacy=False)),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }


def settings() -> dict:
    """All else, as values that can be compared."""
    root = logging.getLogger()
    return {
        "sys.path": list(sys.path),
        "sys.argv": list(sys.argv),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "environment": {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"},
        "working directory": os.getcwd(),  # noqa: PTH109
        "signal handlers": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "cores": os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None,
        "warnings": (list(warnings.filters), warnings.showwarning, warnings.formatwarning),
        "logging": (root.level, list(root.handlers), logging.root.manager.disable),
        "torch": (
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            torch.nn.Module.half,
            torch.Tensor.half,
        ),
    }


def changes(before: dict, after: dict) -> list[str]:
    """The parts that differ, each with what it was and is."""
    return [f"{name}: {before[name]!r} -> {after[name]!r}"[:600] for name in before if before[name] != after[name]]
