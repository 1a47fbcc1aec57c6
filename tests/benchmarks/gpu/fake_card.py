"""A card that is not there, with all that benchmarks.gpu asks a card for; in a process that tests/fake_cuda starts.

What is asked, counted and launched is real, and so is the size of what is held. Tensors have no values.
"""

import contextlib
import itertools
import time
import warnings
from types import SimpleNamespace
from unittest import mock

import torch

from benchmarks.gpu import sides
from benchmarks.gpu.measures import counts
from benchmarks.gpu.task import MANY, Place, Task
from benchmarks.plain import PlainCLIP
from tests.fake_cuda.device import FREE, fake_cuda, with_values
from tests.fake_cuda.watching import Watch
from tests.held import Held

NAME = "a card that is not there"
CAPABILITY = (9, 0)  # an H100's
BUILT = "12.6"  # the CUDA of a PyTorch that would fit it


class Small(Place):
    """A card for models of two layers."""

    layers = 2
    size = 32


def launches(method, precisions, names):
    """What the second step of each side launches in each precision; mixed types or devices raise."""
    place, found = Small(False), {}
    with card():
        for precision, name in itertools.product(precisions, names):
            task = Task("step", method, 50, precision)
            side, inputs = sides.build(name, task, place), sides.batch(task, place)
            side.step(*inputs)
            with Watch() as watch:
                side.step(*inputs)
            found[f"{precision} {name}"] = watch.counted().launches
    return found


class Event:
    """A time; the card's work is done as soon as it is asked for."""

    def __init__(self, **_):
        self.at = 0.0

    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, other):
        return 1000 * (other.at - self.at)


class Waits:
    """The debug mode for waits, by what the watch over operations sees."""

    def __init__(self):
        self._watch = None

    def mode(self):
        return 0 if self._watch is None else 1

    def set(self, mode):
        if mode == "warn":
            self._watch = Watch()
            self._watch.__enter__()
            return
        watch, self._watch = self._watch, None
        watch.__exit__(None, None, None)
        for what in watch.waits.elements():
            warnings.warn(f"called a synchronizing CUDA operation: {what}", stacklevel=2)


class Profile:
    """The profiler's events as a card gives them, by what the watch sees."""

    def __init__(self, activities):
        self._watch = Watch()

    def __enter__(self):
        self._watch.__enter__()
        return self

    def __exit__(self, *error):
        self._watch.__exit__(*error)

    def events(self):
        watch = self._watch
        calls = {"cudaLaunchKernel": watch.by_name, "cudaStreamSynchronize": watch.waits}
        names = [(call, "CPU") for call, counter in calls.items() for _ in range(counter.total())]
        names += [(name, "CUDA") for name in watch.by_name]
        return [SimpleNamespace(name=name, device_type=SimpleNamespace(name=where)) for name, where in names]


def _of_cuda(held):
    """What torch.cuda has on such a card."""
    waits = Waits()
    facts = SimpleNamespace(name=NAME, total_memory=FREE, major=CAPABILITY[0], minor=CAPABILITY[1])
    nothing = dict.fromkeys(("init", "synchronize", "empty_cache"), lambda *_: None)
    peaks = dict.fromkeys(("memory_reserved", "max_memory_allocated"), lambda *_: held.peak["cuda"])
    return {
        **nothing,
        **peaks,
        "get_device_properties": lambda *_: facts,
        "get_arch_list": lambda: ["sm_90"],
        "current_device": lambda: 0,
        "Event": Event,
        "get_sync_debug_mode": waits.mode,
        "set_sync_debug_mode": waits.set,
        "memory_allocated": lambda *_: held.now["cuda"],
        "reset_peak_memory_stats": lambda *_: held.forget(),
    }


@contextlib.contextmanager
def card():
    """Within it the card is there, and models have a dry run's sizes."""
    held = Held()
    with fake_cuda(CAPABILITY), contextlib.ExitStack() as stack:
        patch = lambda *inputs, **named: stack.enter_context(mock.patch.object(*inputs, **named))  # noqa: E731
        for name, one in _of_cuda(held).items():
            patch(torch.cuda, name, one)
        patch(torch.version, "cuda", BUILT)
        patch(torch._C, "_cuda_getDriverVersion", lambda: 12060, create=True)
        patch(counts, "profile", Profile)
        for owner, name in ((sides, "_clip"), (PlainCLIP, "__init__")):
            patch(owner, name, with_values(getattr(owner, name)))
        stack.enter_context(held)
        yield


def small():
    """From here on places have a dry run's sizes."""
    Place.layers, Place.size = Small.layers, Small.size
    Place.classes = lambda place, task: MANY[task.classes]
