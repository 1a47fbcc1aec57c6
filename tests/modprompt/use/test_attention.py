"""Attention is that of a plain computation, of every method; and what is drawn of it."""

import numpy as np
import pytest
import torch
from PIL import Image

import modprompt
from modprompt.errors import UserError
from modprompt.use.attention import as_seen, attention_of, overlay
from tests.conftest import random_clip
from tests.methods import small, some_slow
from tests.modprompt.methods.test_model import CLASSES, NAMES, by_name, on


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


SEARCHES = ("DPLSearch", "TrainerSupernet")


@pytest.mark.parametrize("cls", some_slow(one for one in CLASSES if one.__name__ not in SEARCHES), ids=by_name)
def test_it_is_the_plain_one_layer_by_layer(cls, clip_model, images):
    model = on(cls, clip_model, NAMES).eval()
    found = attention_of(model, images)
    counts = model.prompt_learner.schedules.vision.counts
    assert found.grid == (2, 2)
    assert found.class_token.shape == (3, 2, 2, 2)
    assert [len(one) for one in found.prompts] == list(counts)
    with torch.no_grad():
        plain = plain_first_layer(model, images)
    assert torch.allclose(found.class_token[0].flatten(1), plain[:, 0, 1:5], atol=1e-6)
    assert torch.allclose(found.prompts[0].flatten(2), plain[:, 5:, 1:5].transpose(0, 1), atol=1e-6)
    assert (found.class_token.sum((-1, -2)) < 1).all()


@pytest.mark.parametrize("cls", some_slow(CLASSES), ids=by_name)
def test_to_be_watched_changes_no_feature(cls, clip_model, images):
    model = on(cls, clip_model, NAMES).eval()
    attention_of(model, images)
    layers = []

    def watch(layer, attend):
        layers.append(layer)
        return attend

    with torch.no_grad():
        prompts = model.vision_prompts()
        watched = model.image_encoder(images, prompts.vision_additions, prompts.vision_changes, watch=watch)
        unwatched = model._image_features(images, prompts)  # in front of what they are blended with
        assert torch.allclose(watched, unwatched[:, : watched.shape[1]], atol=1e-5)
    assert layers == [0, 1, 2]


def test_of_a_searching_run_the_words_have_what_the_options_leave(clip_model, images):
    model = on(modprompt.DPLSearch, clip_model, NAMES).eval()
    found = attention_of(model, images)
    assert [len(one) for one in found.prompts] == [0, 0, 0]
    assert (found.class_token > 0).all()
    assert (found.class_token.sum((-1, -2)) < 1).all()


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


def test_an_overlay_is_brightest_where_attention_is_and_of_one_colour_if_that_is_even():
    laid = overlay(Image.new("RGB", (32, 32), "grey"), torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    assert laid.size == (224, 224)
    pixels = np.asarray(laid).sum(axis=-1)
    assert pixels[200, 200] > 2 * pixels[20, 20]
    even = np.asarray(overlay(Image.new("RGB", (300, 240), "grey"), torch.full((3, 3), 0.1)))
    assert even.shape == (240, 300, 3)
    assert len(np.unique(even.reshape(-1, 3), axis=0)) == 1


def test_the_picture_that_is_shown_is_the_one_that_was_given():
    clip_model, transform = modprompt.load_clip("glyph-clip", "cpu")
    image = Image.new("RGB", (64, 32), (200, 100, 50))
    shown = as_seen(modprompt.ZeroshotCLIP().on(clip_model, ["zero"]), transform(image))
    assert (shown.size, shown.getpixel((5, 5))) == ((32, 32), (200, 100, 50))
