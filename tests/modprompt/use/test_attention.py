"""Attention is that of a plain computation; and what is drawn of it."""

import numpy as np
import pytest
import torch
from PIL import Image

import modprompt
from modprompt.errors import UserError
from modprompt.use.attention import as_seen, attention_of, overlay
from tests.conftest import random_clip
from tests.methods import small
from tests.modprompt.methods.test_model import NAMES, by_name, on


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


KINDS = [modprompt.MPL, modprompt.VPT, modprompt.PromptSRC, modprompt.CoCoOp, modprompt.MMRL]


@pytest.mark.parametrize("cls", KINDS, ids=by_name)
def test_it_is_the_plain_one_layer_by_layer_and_to_be_watched_changes_no_feature(cls, clip_model, images):
    model = on(cls, clip_model, NAMES).eval()
    found = attention_of(model, images)
    assert found.grid == (2, 2)
    assert found.class_token.shape == (3, 2, 2, 2)
    assert [len(one) for one in found.prompts] == list(model.prompt_learner.schedules.vision.counts)
    with torch.no_grad():
        plain, prompts = plain_first_layer(model, images), model.vision_prompts()
        add, change = prompts.vision_additions, prompts.vision_changes
        watched = model.image_encoder(images, add, change, watch=lambda layer, attend: attend)
        unwatched = model._image_features(images, prompts)  # in front of what they are blended with
    assert torch.allclose(found.class_token[0].flatten(1), plain[:, 0, 1:5], atol=1e-6)
    assert torch.allclose(found.prompts[0].flatten(2), plain[:, 5:, 1:5].transpose(0, 1), atol=1e-6)
    assert torch.allclose(watched, unwatched[:, : watched.shape[1]], atol=1e-5)


def test_a_grid_need_not_be_seen_to_be_square_by_heads_that_are_narrower_than_it(images):
    wide = random_clip(patch=2)  # 256 patches, heads of 64
    found = attention_of(small(modprompt.MPL).on(wide, NAMES).eval(), images)
    assert found.grid == (16, 16)
    assert found.class_token.shape == (3, 2, 16, 16)


def test_a_resnet_has_none_and_other_images_are_refused(resnet_file, images, clip_model):
    resnet = modprompt.load_clip(resnet_file, "cpu", activation="quick_gelu", heads=(1, 4))[0]
    with pytest.raises(UserError, match="is a ResNet, which has no layers of attention over patches"):
        attention_of(modprompt.CoOp(n_ctx=2).on(resnet, NAMES).eval(), images)
    with pytest.raises(UserError, match="images are 16 x 16 pixels, but this CLIP needs 32 x 32"):
        attention_of(on(modprompt.MPL, clip_model, NAMES), torch.zeros(1, 3, 16, 16))


def test_an_overlay_is_brightest_where_attention_is_on_the_picture_that_was_given():
    laid = overlay(Image.new("RGB", (32, 32), "grey"), torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    pixels = np.asarray(laid).sum(axis=-1)
    assert pixels[200, 200] > 2 * pixels[20, 20]
    even = np.asarray(overlay(Image.new("RGB", (300, 240), "grey"), torch.full((3, 3), 0.1)))
    assert len(np.unique(even.reshape(-1, 3), axis=0)) == 1
    clip_model, transform = modprompt.load_clip("glyph-clip", "cpu")
    image = Image.new("RGB", (64, 32), (200, 100, 50))
    shown = as_seen(modprompt.ZeroshotCLIP().on(clip_model, ["zero"]), transform(image))
    assert (shown.size, shown.getpixel((5, 5))) == ((32, 32), (200, 100, 50))
