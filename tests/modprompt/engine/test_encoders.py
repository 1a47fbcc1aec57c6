import pytest
import torch

import modprompt.engine.blocks as blocks
from modprompt.engine import additions, text_layout
from modprompt.engine.encoders import ResNetEncoder, TextEncoder, VisionEncoder, image_encoder
from modprompt.engine.prompts import PromptText, class_texts
from modprompt.engine.schedule import Schedule
from tests.conftest import RESNET_HEADS, lay_out_for, random_clip

NAMES = ["cat", "a very long name of a thing", "x_y", "dog"]


def no_prompts(layers):
    return Schedule([(0, 0)] * layers)


def fixed(clip_model, names=NAMES):
    text = PromptText(class_texts(names, "a photo of a"), names, 0, clip_model)
    return text, text(torch.empty(0, 64))


@pytest.mark.parametrize(("layers", "width", "side", "patch"), [(1, 64, 32, 16), (3, 128, 48, 8), (2, 192, 28, 14)])
def test_vision_encoder_without_prompts_is_clips_own(layers, width, side, patch):
    clip_model = random_clip(vision_layers=layers, vision_width=width, resolution=side, patch=patch)
    images = torch.randn(2, 3, side, side)
    ours = VisionEncoder(clip_model.visual, no_prompts(layers))(images, [None] * layers)
    torch.testing.assert_close(ours, clip_model.encode_image(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("most_tokens", [None, 1, 9])
def test_text_encoder_without_prompts_is_clips_own(layers, most_tokens):
    from clip import clip

    clip_model = random_clip(text_layers=layers)
    text, tokens = fixed(clip_model)
    encoder = TextEncoder(clip_model, no_prompts(layers), most_tokens=most_tokens)
    expected = clip_model.encode_text(clip.tokenize(text.texts))
    with torch.no_grad():
        (alone,) = encoder(tokens, [None] * layers)
    torch.testing.assert_close(alone, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoder(tokens, [None] * layers)[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shared", ["shared", "whole"])
def test_no_call_of_attention_has_more_sequences_than_a_card_takes(monkeypatch, shared):
    lay_out_for(monkeypatch, shared)
    clip_model, seen, plain = random_clip(text_layers=2), [], blocks.attention
    text, tokens = fixed(clip_model)
    encoder = TextEncoder(clip_model, Schedule([(0, 0), (0, 1)], "text"))
    given = [None, torch.randn(1, 64, requires_grad=True)]

    def attend(query, *inputs, **named):
        seen.append(len(query))
        return plain(query, *inputs, **named)

    monkeypatch.setattr(additions, "attention", attend)
    whole = encoder(tokens, given)
    assert max(seen) > 2
    monkeypatch.setattr(text_layout, "GRID", 2)
    seen.clear()
    cut = encoder(tokens, given)
    assert max(seen) == 2
    torch.testing.assert_close(cut, whole)
    (one,) = torch.autograd.grad(cut.square().sum(), given[1])
    assert max(seen) == 2  # what is computed again, too
    (two,) = torch.autograd.grad(whole.square().sum(), given[1])
    torch.testing.assert_close(one, two)


def test_attention_is_its_formula():
    query, key, value = torch.randn(2, 3, 4, 8), torch.randn(2, 5, 4, 8), torch.randn(2, 5, 4, 8)
    for mask in (None, blocks.causal_after(3, 5, "cpu")):
        scores = torch.einsum("bqhd,bkhd->bhqk", query, key) / 8**0.5
        weights = (scores if mask is None else scores.masked_fill(~mask, float("-inf"))).softmax(-1)
        found = blocks.attention(query, key, value, mask)
        torch.testing.assert_close(found, torch.einsum("bhqk,bkhd->bqhd", weights, value), atol=1e-5, rtol=1e-5)


def test_other_activations_and_trained_weights_run_as_they_are(clip_model):
    block = clip_model.visual.transformer.resblocks[0].requires_grad_(False)
    block.mlp.gelu = torch.nn.ReLU()
    x = torch.randn(7, 128)
    torch.testing.assert_close(blocks.feed_forward(block, x), x + block.mlp(block.ln_2(x)))
    trained = clip_model.visual.transformer.resblocks[1].requires_grad_(True)
    blocks.feed_forward(trained, x).sum().backward()
    assert trained.mlp.c_fc.weight.grad.abs().sum() > 0


def test_resnets_have_their_own_encoder(resnet_file):
    from modprompt.clip.load import load
    from modprompt.clip.spec import ClipSpec

    visual = load(ClipSpec("", str(resnet_file), "quick_gelu", RESNET_HEADS)).float().visual
    encoder = image_encoder(visual, no_prompts(0))
    assert isinstance(encoder, ResNetEncoder)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(encoder(images, []), visual(images))
