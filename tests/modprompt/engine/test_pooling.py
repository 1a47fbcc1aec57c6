import pytest
import torch

from modprompt.engine.pooling import DIRECTIONS, EMBEDDINGS, LOGITS, Pooling
from modprompt.errors import SettingError

COUNTS = (2, 1, 4)


def plainly(features, of):
    """Class after class, image after image."""
    rows = []
    for own in features.split(COUNTS, dim=1):
        unit = own / own.norm(dim=-1, keepdim=True)
        mean = sum(own.unbind(1)) / own.shape[1] if of == EMBEDDINGS else sum(unit.unbind(1)) / unit.shape[1]
        rows.append(mean if of == LOGITS else mean / mean.norm(dim=-1, keepdim=True))
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("of", [LOGITS, EMBEDDINGS, DIRECTIONS])
def test_classes_have_the_mean_of_their_prompts(of):
    features = torch.randn(3, 7, 16, requires_grad=True)
    ours, plain = Pooling(COUNTS, of)(features), plainly(features, of)
    torch.testing.assert_close(ours, plain)
    goal = torch.randn(3, 3, 16)
    grads = [torch.autograd.grad((x * goal).sum(), features, retain_graph=True)[0] for x in (ours, plain)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("of", [LOGITS, EMBEDDINGS])
def test_sums_are_those_of_float32(of):
    """2,000 prompts in half precision: a sum of halves would stop growing."""
    features = torch.randn(1, 2000, 8).add(1).half()
    pooled = Pooling([2000], of)(features)
    assert pooled.dtype == torch.float16
    torch.testing.assert_close(pooled.float(), Pooling([2000], of)(features.float()), atol=1e-3, rtol=1e-3)


def test_nothing_of_it_is_kept_in_checkpoints_or_trained():
    pooling = Pooling(COUNTS, LOGITS)
    assert not pooling.state_dict()
    assert not list(pooling.parameters())
    assert {buffer.device.type for buffer in pooling.to("meta").buffers()} == {"meta"}


@pytest.mark.parametrize(
    ("counts", "of", "message"),
    [
        ((1, 0), LOGITS, "number of prompts of a class must be at least 1, got 0"),
        ((1,), "sum", "must be one of logits"),
    ],
)
def test_class_without_a_prompt_and_another_mean_are_refused(counts, of, message):
    with pytest.raises(SettingError, match=message):
        Pooling(counts, of)
