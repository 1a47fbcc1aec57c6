"""Steps of the sides of benchmarks.gpu on fake CUDA tensors; in the process that tests/fake_cuda/child.py starts."""

import contextlib
from unittest import mock

from benchmarks.gpu import sides
from benchmarks.gpu.task import Place, Task
from benchmarks.plain import PlainCLIP
from tests.fake_cuda.device import fake_cuda, with_values
from tests.fake_cuda.watching import Watch


class Small(Place):
    """A card for models of two layers."""

    layers = 2
    size = 32


def launches(method, precision, names):
    """What the second step of each side launches; mixed types or devices raise."""
    task, place, found = Task("step", method, 50, precision), Small(False), {}
    with fake_cuda(), contextlib.ExitStack() as stack:
        for owner, name in ((sides, "_clip"), (PlainCLIP, "__init__")):
            stack.enter_context(mock.patch.object(owner, name, with_values(getattr(owner, name))))
        for name in names:
            side, inputs = sides.build(name, task, place), sides.batch(task, place)
            side.step(*inputs)
            with Watch() as watch:
                side.step(*inputs)
            found[name] = watch.counted().launches
    return found
