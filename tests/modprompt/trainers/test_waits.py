"""A silent step and a batch of a test wait for nothing, on a card that is not there (on_a_card.py)."""

import pytest

from tests.fake_cuda import child
from tests.fake_cuda.needed import needs_fake_cuda

pytestmark = needs_fake_cuda


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "prec"),
    [("MPL", "fp16"), ("CoOp", "fp32"), ("CoOp", "amp"), ("CoCoOp", "fp16"), ("VPT", "bf16")],
)
def test_the_host_waits_with_a_line_and_at_the_end_of_a_test(method, prec):
    seen = child.run("tests.modprompt.trainers.on_a_card:waits", method, prec)
    assert seen["steps"] == [{}, {}, {"_to_copy to the CPU": 1}, {}]  # the third prints
    assert seen["batches"] == [{}] * 4
    assert seen["on the CPU"] == 4
