"""Attention is that of a plain computation; and what is drawn of it."""

import numpy as np
import pytest
import torch
from PIL import Image

import modprompt
from modprompt.errors import UserError
from modprompt.use.attention import as_seen, attention_of, layers_of, overlay
from tests import siglips
from tests.conftest import random_clip
from tests.modprompt.use.made import NAMES, model_of
from tests.tower_clips import PIXELS, tower_clip


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def plain_first_layer(model, images):
    """The first layer's weights (B, L, L), in the mean over heads, from the weights of its block."""
    visual = model.clip_model.visual
    x = visual.conv1(images).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], 1) + visual.positional_embedding
    new = model.vision_prompts().vision_additions[0]
    behind = model.prompt_learner.schedules.vision.place == "behind_ln_pre"
    x = visual.ln_pre(x) if behind else x
    if new is not None:
        x = torch.cat([x, new.expand(len(x), -1, -1)], 1)
    x = x if behind else visual.ln_pre(x)
    block = visual.transformer.resblocks[0]
    h = block.ln_1(x).transpose(0, 1)  # (L, B, D)
    _, weights = block.attn(h, h, h, need_weights=True)  # averaged over heads
    return weights


@pytest.mark.parametrize("name", ["MPL", "VPT", "PromptSRC", "CoCoOp", "MMRL"])
def test_it_is_the_plain_one_layer_by_layer_and_to_be_watched_changes_no_feature(name, clip_model, images):
    model = model_of(name, clip_model=clip_model)
    grid, class_token, of_prompts = attention_of(model, images)
    assert grid == (2, 2)
    assert class_token.shape == (3, 2, 2, 2)
    assert [len(maps) for maps in of_prompts] == list(model.prompt_learner.schedules.vision.counts)
    with torch.no_grad():
        plain, prompts = plain_first_layer(model, images), model.vision_prompts()
        add, change = prompts.vision_additions, prompts.vision_changes
        watched = model.image_encoder(images, add, change, watch=lambda layer, attend: attend)
        unwatched = model.image_encoder(images, add, change)
    assert torch.allclose(class_token[0].flatten(1), plain[:, 0, 1:5], atol=1e-6)
    assert torch.allclose(of_prompts[0].flatten(2), plain[:, 5:, 1:5].transpose(0, 1), atol=1e-6)
    assert torch.allclose(watched, unwatched, atol=1e-5)


def test_a_grid_need_not_be_seen_to_be_square_by_heads_that_are_narrower_than_it(images):
    wide = random_clip(patch=2)  # 256 patches, heads of 64
    grid, class_token, _ = attention_of(model_of("MPL", clip_model=wide), images)
    assert (grid, class_token.shape) == ((16, 16), (3, 2, 16, 16))


def test_where_a_siglips_prompts_look_is_that_of_a_plain_computation():
    parts, pictures = siglips.made("open_clip"), torch.randn(2, 3, siglips.PIXELS, siglips.PIXELS)
    model = modprompt.VPT(n_ctx_vision=3, prompt_depth_vision=2).on(siglips.clip_of(parts), NAMES).eval()
    attention = attention_of(model, pictures)
    assert (layers_of(model), attention.grid, attention.class_token) == (siglips.IMAGE_LAYERS, (4, 4), None)
    block = parts.image_module.trunk.blocks[0]  # timm's
    with torch.no_grad():
        x = torch.cat([parts.image.embed(pictures), model.vision_prompts().vision_additions[0].expand(2, -1, -1)], 1)
        qkv = block.attn.qkv(block.norm1(x)).unflatten(2, (3, block.attn.num_heads, -1))
        query, key, _ = qkv.permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(dim=-1).mean(dim=1)  # over heads
    plain = weights[:, siglips.PATCHES :, : siglips.PATCHES]
    torch.testing.assert_close(attention.prompts[0].flatten(2), plain.transpose(0, 1), atol=1e-6, rtol=0)


def test_without_layers_or_tokens_that_look_there_is_none_and_other_images_are_refused(resnet_file, clip_model):
    resnet = modprompt.load_clip(resnet_file, "cpu", activation="quick_gelu", heads=(1, 4))[0]
    for name, clip, pixels, said in (
        ("CoOp", resnet, 64, "is a ResNet, which has no attention layers over image patches"),
        ("ZeroshotCLIP", tower_clip(), PIXELS, "uses an image encoder of another package"),
        (
            "ZeroshotCLIP",
            siglips.clip_of(siglips.made("open_clip")),
            siglips.PIXELS,
            "has no class token, and the model has no vision prompts",
        ),
        ("MPL", clip_model, 16, "images are 16 x 16 pixels, but this CLIP needs 32 x 32"),
    ):
        with pytest.raises(UserError, match=said):
            attention_of(model_of(name, clip_model=clip), torch.zeros(1, 3, pixels, pixels))


def test_an_overlay_is_brightest_where_attention_is_on_the_picture_that_was_given():
    laid = overlay(Image.new("RGB", (32, 32), "grey"), torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    pixels = np.asarray(laid).sum(axis=-1, dtype=int)
    assert pixels[200, 200] > 2 * pixels[20, 20]
    even = np.asarray(overlay(Image.new("RGB", (300, 240), "grey"), torch.full((3, 3), 0.1)))
    assert len(np.unique(even.reshape(-1, 3), axis=0)) == 1
    clip_model, transform = modprompt.load_clip("glyph-clip", "cpu")
    image = Image.new("RGB", (64, 32), (200, 100, 50))
    shown = as_seen(modprompt.ZeroshotCLIP().on(clip_model, ["zero"]), transform(image))
    assert (shown.size, shown.getpixel((5, 5))) == ((32, 32), (200, 100, 50))
