"""What a process has that the next test would inherit."""

from __future__ import annotations

import contextlib
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

_ATTENTION = ("flash", "mem_efficient", "cudnn", "math")


@contextlib.contextmanager
def left_as_found():
    """Restore, however the block ends, what a program sets in its process for good: it ends with it."""
    words, streams, environment = (sys.path, sys.argv), (sys.stdout, sys.stderr), dict(os.environ)
    contents, cores = [list(one) for one in words], os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    draws = random.getstate(), np.random.get_state(), torch.get_rng_state()
    threads, cudnn, matmul = torch.get_num_threads(), torch.backends.cudnn, torch.backends.cuda.matmul
    flags, attention = (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32), _attention()
    fixed = torch.are_deterministic_algorithms_enabled()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        (sys.path, sys.argv), (sys.stdout, sys.stderr) = words, streams
        sys.path[:], sys.argv[:] = contents
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        if cores and os.sched_getaffinity(0) != cores:
            os.sched_setaffinity(0, cores)
        random.setstate(draws[0])
        np.random.set_state(draws[1])
        torch.set_rng_state(draws[2])
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = flags
        torch.use_deterministic_algorithms(fixed)
        for name, on in attention.items():
            getattr(torch.backends.cuda, f"enable_{name}_sdp")(on)


def _attention() -> dict:
    return {name: getattr(torch.backends.cuda, f"{name}_sdp_enabled")() for name in _ATTENTION}


def settings() -> dict:
    """What it has, as values that can be compared; the generators are set before each test."""
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
            *_attention().values(),
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
