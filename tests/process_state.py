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

from modprompt.io import folder

_ATTENTION = ("flash", "mem_efficient", "math")  # kinds of fused attention; PyTorch before 2.0 has none


def generators_and_warnings() -> dict:
    """What pytest and its plugins keep for every test, but a program must keep itself, as values that can be compared."""
    return {
        "warnings": (list(warnings.filters), warnings.showwarning, warnings.formatwarning),
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
        "signal handlers": {
            number.name: signal.getsignal(number)
            for number in signal.Signals
            # SIGCHLD is PyTorch's, for good, once a loader has had workers; SIGALRM is pytest-timeout's
            if number not in (signal.SIGCHLD, signal.SIGALRM)
        },
        "cores": os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None,
        "folders held": dict(folder._held),
        "logging": (root.level, list(root.handlers), logging.root.manager.disable),
        "torch": (
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.allow_tf32,
            torch.backends.cuda.matmul.allow_tf32,
            *(getattr(torch.backends.cuda, f"{name}_sdp_enabled", bool)() for name in _ATTENTION),
            torch.nn.Module.half,
            torch.Tensor.half,
        ),
    }


def changes(before: dict, after: dict) -> list[str]:
    """The parts that differ, each with what it was and is."""
    found = []
    for name, was in before.items():
        now = after[name]
        if was == now:
            continue
        if isinstance(was, dict):
            keys = [key for key in {**was, **now} if was.get(key) != now.get(key)]
            was, now = ({key: part[key] for key in keys if key in part} for part in (was, now))
        elif isinstance(was, (list, tuple)):
            was, now = (
                [item for item in was if item not in now] or was,
                [item for item in now if item not in was] or now,
            )
        found.append(f"{name}: {str(was)[:400]} -> {str(now)[:400]}")
    return found
