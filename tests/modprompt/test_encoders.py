import pytest
import torch

import modprompt.blocks as blocks
from modprompt.encoders import TextEncoder, VisionEncoder
from modprompt.prompts import class_prompts
from modprompt.schedule import Schedule, from_config
from tests.conftest import random_clip


def no_prompts(layers):
    return Schedule([(0, 0)] * layers)


@pytest.mark.parametrize(
    ("layers", "width", "resolution", "patch"), [(1, 64, 32, 16), (3, 128, 48, 8), (2, 192, 28, 14)]
)
def test_vision_encoder_without_prompts_is_clips_own(layers, width, resolution, patch):
    clip_model = random_clip(vision_layers=layers, vision_width=width, resolution=resolution, patch=patch)
    images = torch.randn(2, 3, resolution, resolution)
    ours = VisionEncoder(clip_model.visual, no_prompts(layers))(images, [None] * layers)
    torch.testing.assert_close(ours, clip_model.encode_image(images), atol=1e-5, rtol=1e-5)


def test_text_encoder_without_prompts_is_clips_own(clip_model):
    from clip import clip

    prompts = class_prompts(["cat", "a very long name of a thing", "x_y"], "a photo of a", clip_model)
    encoder = TextEncoder(clip_model, no_prompts(3))
    ours = encoder(prompts.embedding, prompts.end, [None] * 3)
    torch.testing.assert_close(ours, clip_model.encode_text(clip.tokenize(prompts.texts)), atol=1e-5, rtol=1e-5)


def test_attention_without_the_fused_kernel_is_the_same(clip_model, monkeypatch):
    x = torch.randn(2, 7, 64)
    block = clip_model.transformer.resblocks[0]
    fused = blocks.run_block(block, x, causal=True)
    monkeypatch.setattr(blocks, "_FUSED", False)
    torch.testing.assert_close(blocks.run_block(block, x, causal=True), fused, atol=1e-5, rtol=1e-5)


def test_text_schedule_may_grow_and_shrink_and_reads_the_right_end(clip_model):
    """Hand-made sequences, layer by layer, against the encoder."""
    prompts = class_prompts(["cat", "dog with a hat"], "X X a photo of a", clip_model)
    schedule = from_config([[0, 2], [1, 3], [4, 1]], 3, "text", 2)
    new = [None, torch.randn(3, 64), torch.randn(1, 64)]
    x = prompts.embedding + clip_model.positional_embedding
    steps = [
        lambda x: x,
        lambda x: torch.cat([x[:, :2], new[1].expand(2, -1, -1), x[:, 3:]], 1),  # start, 1 kept | 3 new | the rest
        lambda x: torch.cat([x[:, :1], new[2].expand(2, -1, -1), x[:, 5:]], 1),  # start | 1 new | the rest
    ]
    for step, block in zip(steps, clip_model.transformer.resblocks):
        x = blocks.run_block(block, step(x), causal=True)
    x = clip_model.ln_final(x) @ clip_model.text_projection
    expected = torch.stack([x[c, prompts.end[c] - 1] for c in range(2)])  # 2 prompt tokens became 1
    ours = TextEncoder(clip_model, schedule)(prompts.embedding, prompts.end, new)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_half_precision_weights_run(clip_model, half_weights):
    half_weights(clip_model)
    out = VisionEncoder(clip_model.visual, no_prompts(3))(torch.randn(1, 3, 32, 32), [None] * 3)
    assert out.dtype == torch.float16
    assert torch.isfinite(out).all()
