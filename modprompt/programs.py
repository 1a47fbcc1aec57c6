"""How a program runs in a process that is not its own: it leaves the process as it found it."""

import contextlib
import os
import random
import sys
import warnings


def _has_affinity() -> bool:
    return hasattr(os, "sched_setaffinity")


@contextlib.contextmanager
def _python_kept():
    lists, streams, environment = (sys.path, sys.argv), (sys.stdout, sys.stderr), dict(os.environ)
    contents = [list(found) for found in lists]
    cores = os.sched_getaffinity(0) if _has_affinity() else None
    try:
        with warnings.catch_warnings():
            yield
    finally:
        (sys.path, sys.argv), (sys.stdout, sys.stderr) = lists, streams
        sys.path[:], sys.argv[:] = contents
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        if cores is not None and os.sched_getaffinity(0) != cores:
            os.sched_setaffinity(0, cores)


@contextlib.contextmanager
def _generators_kept():
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")  # who has not imported them draws from neither
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy else None
    torch_state = torch.get_rng_state() if torch else None
    try:
        yield
    finally:
        random.setstate(python_state)
        if numpy:
            numpy.random.set_state(numpy_state)
        if torch:
            torch.set_rng_state(torch_state)


@contextlib.contextmanager
def _torch_kept():
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = benchmark
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


@contextlib.contextmanager
def left_as_found():
    """Give back, however the block ends, what programs of this project set in their process.

    That is sys.path, sys.argv and the standard streams, the environment, the cores to run on, warnings, the generators
    that a seed sets, PyTorch's threads and cuDNN's search for algorithms. Also a decorator: `@left_as_found()`.
    Signal handlers are kept where they are set (experiments/run.py); imported modules stay.
    """
    with _python_kept(), _generators_kept(), _torch_kept():
        yield
