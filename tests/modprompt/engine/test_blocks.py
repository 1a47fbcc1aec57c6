"""A block's attention, and by which kernel; its feed-forward part against its own modules, and what it keeps."""

import copy

import pytest
import torch
from clip.model import ResidualAttentionBlock
from torch import nn

import modprompt
from modprompt.engine import blocks
from tests.conftest import lay_out_for

ACTIVATIONS = ["gelu", "quick_gelu"]
TOKENS, WIDTH, HIDDEN = 50, 64, 256


def frozen_block(activation, dtype=torch.float32):
    torch.manual_seed(0)
    block = ResidualAttentionBlock(WIDTH, 4).requires_grad_(False)
    if activation == "gelu":
        block.mlp.gelu = nn.GELU()
    for linear in (block.mlp.c_fc, block.mlp.c_proj):
        nn.init.normal_(linear.weight, std=3 * linear.in_features**-0.5)  # far into both ends of the activation
        nn.init.normal_(linear.bias)
    block.mlp.to(dtype)
    return block


def weights_of(block):
    return block.mlp.c_fc.weight, block.mlp.c_fc.bias, block.mlp.c_proj.weight, block.mlp.c_proj.bias


def frozen(block, x):
    return blocks.FrozenMLP.apply(x, *weights_of(block), blocks.quick_or_not(block.mlp))


def with_gradient(mlp, x, grad):
    x = x.detach().clone().requires_grad_()
    out = mlp(x)
    out.backward(grad.to(out.dtype))
    return out.detach().double(), x.grad.double()


def off(found, true):
    return float((found - true).norm() / true.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_is_as_exact_as_the_modules(activation, dtype):
    block = frozen_block(activation, dtype)
    x, grad = torch.randn(TOKENS, WIDTH).to(dtype), torch.randn(TOKENS, WIDTH).to(dtype)
    true = with_gradient(copy.deepcopy(block.mlp).double(), x.double(), grad)
    ours = with_gradient(lambda x: frozen(block, x), x, grad)
    modules = with_gradient(block.mlp, x, grad)
    for mine, theirs, exact in zip(ours, modules, true):
        if dtype == torch.float32:
            assert off(mine, exact) <= 5e-7
            assert off(mine, theirs) <= 1e-6
        else:
            assert off(mine, exact) <= 1.2 * off(theirs, exact)  # 1e-3 and more: the type rounds


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_backward_keeps_one_tensor_beside_the_weights(activation):
    block, kept = frozen_block(activation), []
    weights = {one.data_ptr() for one in block.parameters()}

    def keep(tensor):
        if tensor.data_ptr() not in weights:
            kept.append(tuple(tensor.shape))
        return tensor

    x = torch.randn(TOKENS, WIDTH, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        frozen(block, x)
        ours, kept[:] = list(kept), []
        block.mlp(x)
    assert ours == [(TOKENS, HIDDEN)]
    assert activation == "gelu" or kept.count((TOKENS, HIDDEN)) > 1, "the hooks saw nothing"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of what the compiler looks into
@pytest.mark.parametrize("chunk", [0, 1])
def test_attention_breaks_no_graph(clip_model, monkeypatch, chunk):
    import torch._dynamo as dynamo

    lay_out_for(monkeypatch, "whole")
    model = modprompt.CoOp(n_ctx=2).on(clip_model, ["cat", "dog"])
    model.limit_text(chunk)
    inputs = model.prompt_learner().text, [None] * 3
    plain = model.text_encoder(*inputs)
    dynamo.reset()
    found = torch.compile(model.text_encoder.forward, backend="aot_eager", fullgraph=True)(*inputs)
    dynamo.reset()
    torch.testing.assert_close(found, plain)
    (one,) = torch.autograd.grad(found.square().sum(), model.prompt_parameters())
    (two,) = torch.autograd.grad(plain.square().sum(), model.prompt_parameters())
    torch.testing.assert_close(one, two)
