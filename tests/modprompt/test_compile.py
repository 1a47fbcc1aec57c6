import shutil

import pytest
import torch
import torch.nn.functional as F

import modprompt
from modprompt.engine.model import PromptedCLIP
from modprompt.methods.heads.base import FreshViews
from tests.conftest import random_clip
from tests.modprompt.methods.parts.test_coupled import build


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler")
def test_compiled_encoders_give_the_same_logits_and_gradients():
    clip_model = random_clip(3, text_layers=2, vision_layers=2)
    learner = build(clip_model, depth=2)
    model = PromptedCLIP(learner, clip_model)
    images, labels = torch.randn(2, 3, 32, 32), torch.tensor([0, 2])

    def gradients():
        logits = model(images)
        return logits, torch.autograd.grad(F.cross_entropy(logits, labels), list(learner.parameters()))

    plain_logits, plain = gradients()
    model.compile_encoders("default")
    logits, compiled = gradients()
    torch.testing.assert_close(logits, plain_logits, atol=1e-5, rtol=1e-5)
    for one, two in zip(compiled, plain):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


@pytest.fixture
def graphs(monkeypatch):
    """torch.compile as it is with CUDA graphs: every run of what is compiled writes into the memory of the last."""

    def compiled(forward, **settings):
        assert settings == {"mode": "reduce-overhead"}
        memory = []

        def run(*inputs):
            output = forward(*inputs)
            if not memory or memory[0].shape != output.shape:
                memory[:] = [torch.empty_like(output)]
            return memory[0].copy_(output)

        return run

    monkeypatch.setattr(torch, "compile", compiled, raising=False)


@torch.no_grad()
def test_with_cuda_graphs_a_head_keeps_the_features_of_all_its_prompts_and_views(graphs, clip_model):
    model = modprompt.TipAdapterF(ensemble="selected").on(clip_model, ["cat", "dog"], dataset="EuroSAT").eval()
    loader = [{"img": torch.randn(2, 3, 32, 32), "label": torch.arange(2)} for _ in range(3)]
    text, images = model.raw_text(), [model.encode_image(batch["img"]) for batch in loader]
    assert text.shape[1] > 1
    model.train().eval()
    model.compile_encoders("reduce-overhead")
    assert torch.equal(model.raw_text(), text)
    views = FreshViews(loader, model.encode_image, views=1)
    for batches in (list(views), list(views)):
        assert all(torch.equal(batch["img"], image) for batch, image in zip(batches, images))
