"""What would be recorded of a step on a card, by tensors that have none (tests/fake_cuda)."""

import pytest

from tests.fake_cuda import child
from tests.fake_cuda.needed import needs_fake_cuda
from tests.modprompt.methods.test_model import LEARNING

pytestmark = needs_fake_cuda


def require_recordable(names, prec, chunk):
    found = child.run("tests.fake_cuda.recording:steps", names, prec, chunk)
    assert {name: row[:3] for name, row in found.items()} == dict.fromkeys(names, [[], True, {}])
    assert all(count > 100 for *_, count in found.values())


@pytest.mark.slow
def test_nothing_in_a_step_of_mpl_stands_against_its_recording():
    require_recordable(["MPL"], "fp16", 0)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [0, 1])
@pytest.mark.parametrize("prec", ["fp16", "amp", "bf16", "fp32"])
def test_nothing_in_a_step_of_any_method_does(prec, chunk):
    """But of CLIPLoRA, whose masks are drawn: it is refused beside MODEL.COMPILE; and of PromptKD, which is not recorded."""
    names = [cls.__name__ for cls in LEARNING if cls.__name__ not in ("CLIPLoRA", "PromptKD")]
    require_recordable([*names, "ExtrasLinearProbeCoOp"], prec, chunk)
