"""What only real values on a GPU show, in small sizes: `make card` runs it, `make test` skips it.

No GPU has run these so far.
"""

import pytest
import torch

from benchmarks.gpu.measures import losses, resume, scaling
from benchmarks.gpu.plan import LEARN
from benchmarks.gpu.rows import HELD
from benchmarks.gpu.sides import OURS, build
from benchmarks.gpu.task import Place, Task

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is seen (make card, --card)"),
    pytest.mark.filterwarnings("default"),  # of CUDA, which a CPU never gives
]


class Small(Place):
    """A GPU, and the CPU beside it, for models of two layers."""

    layers = 2
    size = 32


@pytest.fixture(autouse=True)
def _settings_are_kept():
    """A side in float32 leaves TF32 off."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


GPU, CPU = Small(False), Small(False, on_cpu=True)
FLASH = 65_535  # sequences that one call of flash attention takes


def every_row_holds(found):
    assert [row for row in found.rows if row.verdict != HELD] == []


@pytest.mark.parametrize("method", LEARN)
def test_losses_are_those_of_a_cpu(method):
    task = Task("losses", method, 5, "fp32")
    curves = [losses.curve(build(OURS, task, place), task, place, 2) for place in (GPU, CPU)]
    assert losses.apart(*curves) < 1e-4


def test_scaler_of_amp_skips_what_overflows_and_nothing_else():
    every_row_holds(scaling.measure(Task("amp", "MPL", 5, "amp"), GPU))


def test_run_that_was_killed_ends_as_an_undisturbed_one():
    every_row_holds(resume.measure(Task("resume", "MPL", 4, "fp16"), GPU))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_more_sequences_than_one_attention_call_takes(precision):
    classes = 1000
    count = FLASH // classes + 5  # images, each with class prompts of its own
    task = Task("test", "CoCoOp", classes, precision)
    side = build(OURS, task, GPU)
    images = torch.randn(count, 3, GPU.size, GPU.size, device=GPU.device)
    together, apart = side.test(images), torch.cat([side.test(some) for some in images.split(10)])
    assert (together - apart).abs().max() < (1e-3 if precision == "fp32" else 5e-2)
    labels = torch.arange(count, device=GPU.device)
    assert bool(torch.isfinite(side.step(images, labels)))
