"""What is made of frozen weights for a card, on real half tensors: the same numbers, and anew when weights change."""

import pytest
import torch
from clip.model import LayerNorm
from torch import nn

import modprompt
from modprompt.engine import weight_cache
from tests.conftest import lay_out_for

WIDTH = 64


@pytest.fixture(autouse=True)
def _card(monkeypatch):
    lay_out_for(monkeypatch, "whole")


def norm_of(exact=True):
    torch.manual_seed(0)
    norm = LayerNorm(WIDTH)
    with torch.no_grad():
        for parameter in norm.parameters():
            nn.init.normal_(parameter, mean=1.0)
            if exact:
                parameter.copy_(parameter.half())
    return norm.requires_grad_(False)


def kernels(norm, x):
    """Names of what normalising x runs."""
    with torch.autograd.profiler.profile() as profile:
        weight_cache.normalise(norm, x)
    wanted = ("aten::native_layer_norm", "aten::_to_copy")
    return [event.name for event in profile.function_events if event.name in wanted]


def both_ways(normalise, x, grad):
    x = x.clone().requires_grad_()
    out = normalise(x)
    out.backward(grad)
    return out.detach(), x.grad


def test_half_weights_give_the_numbers_of_the_casts():
    norm, x, grad = norm_of(), 5 * torch.randn(40, WIDTH).half(), torch.randn(40, WIDTH).half()
    weight_cache.normalise(norm, x)
    assert kernels(norm, x) == ["aten::native_layer_norm"]
    (ours, slope), (casts, expected) = (
        both_ways(lambda x: weight_cache.normalise(norm, x), x, grad),
        both_ways(norm, x, grad),
    )
    assert ours.dtype == slope.dtype == torch.float16
    assert (ours != casts).float().mean() <= 0.02  # sums in float32, in another order; then rounded once
    torch.testing.assert_close(ours, casts, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(slope, expected, rtol=2e-3, atol=1e-3)  # a CPU's kernel rounds once more


def test_weights_that_half_precision_cannot_hold_are_left_as_they_are():
    norm, x = norm_of(exact=False), torch.randn(40, WIDTH).half()
    assert torch.equal(weight_cache.normalise(norm, x), norm(x))
    assert "aten::_to_copy" in kernels(norm, x)


def test_a_cpu_and_float32_and_trained_weights_run_the_module(monkeypatch):
    norm, x = norm_of(), torch.randn(40, WIDTH)
    assert torch.equal(weight_cache.normalise(norm, x), norm(x))
    norm.requires_grad_(True)
    assert weight_cache.normalise(norm, x.half()).grad_fn is not None
    norm.requires_grad_(False)
    lay_out_for(monkeypatch, "arithmetic")
    assert "aten::_to_copy" in kernels(norm, x.half())


def test_changed_weights_are_seen():
    norm, x = norm_of(), torch.randn(40, WIDTH).half()
    before = weight_cache.normalise(norm, x)
    norm.weight.add_(1.0)
    assert not torch.equal(weight_cache.normalise(norm, x), before)
    torch.testing.assert_close(weight_cache.normalise(norm, x), norm(x), rtol=2e-3, atol=1e-4)
    norm.weight.add_(1e-5)  # no half number any more
    assert torch.equal(weight_cache.normalise(norm, x), norm(x))


def test_a_model_forgets_when_its_mode_is_set(clip_model):
    model = modprompt.CoOp(n_ctx=2).on(clip_model, ["cat", "dog"])
    images, linear = torch.randn(1, 3, 32, 32), clip_model.visual.transformer.resblocks[0].mlp.c_fc
    before = model.eval()(images)
    linear.bias.data.add_(torch.linspace(-3, 3, len(linear.bias)))
    assert not torch.allclose(model.eval()(images), before)
