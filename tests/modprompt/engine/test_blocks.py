"""A block's attention, and by which kernel; its feed-forward part against its own modules, and what it keeps."""

import copy
from collections import Counter

import pytest
import torch
from torch import nn

import modprompt
from modprompt.clip.stock_model import ResidualAttentionBlock
from modprompt.engine import blocks
from tests.conftest import lay_out_for
from tests.fake_cuda import child
from tests.fake_cuda.needed import needs_fake_cuda

ACTIVATIONS = ["gelu", "quick_gelu"]
TOKENS, WIDTH, HIDDEN = 50, 64, 256
KERNELS = {"gelu": "gelu", "quick_gelu": "silu"}  # that compute an activation


def frozen_block(activation, dtype=torch.float32):
    torch.manual_seed(0)
    block = ResidualAttentionBlock(WIDTH, 4, HIDDEN, activation, None).requires_grad_(False)
    for linear in (block.mlp.c_fc, block.mlp.c_proj):
        nn.init.normal_(linear.weight, std=3 * linear.in_features**-0.5)  # far into both ends of the activation
        nn.init.normal_(linear.bias)
    block.mlp.to(dtype)
    return block


def weights_of(block):
    return block.mlp.c_fc.weight, block.mlp.c_fc.bias, block.mlp.c_proj.weight, block.mlp.c_proj.bias


def frozen(block, x):
    return blocks._FrozenMLP.apply(x, *weights_of(block), blocks._quick_or_not(block.mlp))


def with_gradient(mlp, x, grad):
    x = x.detach().clone().requires_grad_()
    out = mlp(x)
    out.backward(grad.to(out.dtype))
    return out.detach().double(), x.grad.double()


def launched(profile):
    """How often each operator ran that computes something, without those that another one calls."""
    views = {"t", "to", "transpose", "as_strided", "detach", "view", "view_as", "alias", "expand", "resolve_conj"}
    own = [event for event in profile.function_events if event.name.startswith("aten::")]
    outer = [event for event in own if not (event.cpu_parent and event.cpu_parent.name.startswith("aten::"))]
    counts = Counter(event.name[len("aten::") :] for event in outer)
    return {name: count for name, count in counts.items() if name not in views}


def off(found, true):
    return float((found - true).norm() / true.norm())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float32_is_as_exact_as_the_modules(activation):
    block = frozen_block(activation)
    x, grad = torch.randn(TOKENS, WIDTH), torch.randn(TOKENS, WIDTH)
    true = with_gradient(copy.deepcopy(block.mlp).double(), x.double(), grad)
    ours = with_gradient(lambda x: frozen(block, x), x, grad)
    modules = with_gradient(block.mlp, x, grad)
    for mine, theirs, exact in zip(ours, modules, true):
        assert off(mine, exact) <= 5e-7
        assert off(mine, theirs) <= 1e-6


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bfloat16_is_as_exact_as_the_modules(activation):
    block = frozen_block(activation, torch.bfloat16)
    x, grad = torch.randn(TOKENS, WIDTH).bfloat16(), torch.randn(TOKENS, WIDTH).bfloat16()
    true = with_gradient(copy.deepcopy(block.mlp).double(), x.double(), grad)
    ours = with_gradient(lambda x: frozen(block, x), x, grad)
    modules = with_gradient(block.mlp, x, grad)
    for mine, theirs, exact in zip(ours, modules, true):
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


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_is_one_kernel_each_way(activation):
    block, x = frozen_block(activation), torch.randn(TOKENS, WIDTH, requires_grad=True)
    grad = torch.randn(TOKENS, WIDTH)
    with torch.autograd.profiler.profile() as forward:
        out = frozen(block, x)
    with torch.autograd.profiler.profile() as backward:
        torch.autograd.grad(out, x, grad)
    assert launched(forward) == {"addmm": 2, KERNELS[activation]: 1}
    assert launched(backward) == {"mm": 2, f"{KERNELS[activation]}_backward": 1}


# ------------------------------------------------------------------ attention on a GPU that prefers cuDNN's

ALL = ["cudnn", "flash", "mem_efficient", "math"]
FLASH, CUDNN = (f"_scaled_dot_product_{kind}_attention" for kind in ("flash", "cudnn"))


def ours_alone(monkeypatch):
    """The choice is made as for queries on a GPU."""
    monkeypatch.setattr(blocks, "_has_cudnn", lambda _: True)


def flags():
    return {kind: getattr(torch._C, f"_get_{kind}_sdp_enabled")() for kind in ALL}


@pytest.mark.slow
@needs_fake_cuda
def test_no_plan_is_built_for_any_of_the_lengths_of_prompts():
    preferred = child.run("tests.fake_cuda.plans:counted", "MPL", False)
    assert preferred == {"training": 22, "test": 21}  # one for each shape, each way
    assert child.run("tests.fake_cuda.plans:counted", "MPL", True) == {"training": 0, "test": 0}


@pytest.mark.slow
@needs_fake_cuda
@pytest.mark.parametrize(
    ("forward", "backward", "kernel"),
    [
        (ALL, ALL, FLASH),
        (["flash"], ALL, FLASH),
        (ALL, ["cudnn", "flash"], FLASH),
        (["cudnn"], ["cudnn"], CUDNN),  # whoever allows nothing else has it
        (["math"], ["math"], None),  # as MODEL.DETERMINISTIC asks for
    ],
)
def test_what_is_computed_again_takes_the_same_kernel_whatever_else_is_allowed(forward, backward, kernel):
    found = child.run("tests.fake_cuda.plans:taken", forward, backward)
    assert found["left"] == forward
    again = found["backward"]
    if kernel is None:
        assert found["forward"] == again == {}
    else:
        assert {*found["forward"]} == {kernel}
        assert {*again} == {kernel, f"{kernel}_backward"}
        assert again[kernel] == again[f"{kernel}_backward"] > 12  # all layers' in each of the chunks


def test_what_is_allowed_is_given_back_also_when_attention_fails(monkeypatch):
    ours_alone(monkeypatch)
    seen, plain = [], blocks.F.scaled_dot_product_attention

    def attend(query, *inputs, **named):
        seen.append(flags())
        if not query.shape[0]:
            raise RuntimeError("no memory")
        return plain(query, *inputs, **named)

    monkeypatch.setattr(blocks.F, "scaled_dot_product_attention", attend)
    before, some = flags(), torch.randn(2, 5, 4, 16)
    blocks.attention(some, some, some)
    with pytest.raises(RuntimeError, match="no memory"):
        blocks.attention(some[:0], some[:0], some[:0])
    assert seen == [{**before, "cudnn": False}] * 2
    assert flags() == before


def test_nothing_happens_where_pytorch_has_no_such_choice(monkeypatch):
    monkeypatch.delattr(torch.backends.cuda, "enable_cudnn_sdp", raising=False)
    assert not blocks._has_cudnn(torch.empty(0, device="meta"))
    for name in ("_set_sdp_use_cudnn", "_get_cudnn_sdp_enabled"):
        monkeypatch.delattr(torch._C, name, raising=False)
    some = torch.randn(2, 5, 4, 16)
    assert blocks.attention(some, some, some).shape == some.shape


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of what the compiler looks into
@pytest.mark.parametrize("chunk", [0, 1])
def test_the_choice_breaks_no_graph(clip_model, monkeypatch, chunk):
    import torch._dynamo as dynamo

    ours_alone(monkeypatch)
    lay_out_for(monkeypatch, "whole")
    model, before = modprompt.CoOp(n_ctx=2).on(clip_model, ["cat", "dog"]), flags()
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
    assert flags() == before
