"""Which modules of other packages are a SigLIP's sides."""

import pytest
import torch

from modprompt.clip.towers import Tower, prompted_image, takes_text_prompts
from tests import siglips
from tests.other_clips import other_package


@pytest.mark.parametrize("kind", siglips.KINDS)
def test_sides_hold_the_packages_own_weights_and_no_others(kind):
    found = siglips.made(kind)
    assert takes_text_prompts(found.text_module)
    side = prompted_image(Tower(found.image_module))
    assert {id(one) for one in side.parameters()} == {id(one) for one in found.image_module.parameters()}


@pytest.mark.parametrize("more", [
    {"class_token": True}, {"reg_tokens": 1}, {"init_values": 1e-5}, {"qk_norm": True}, {"global_pool": "avg"},
    {"qkv_bias": False}, {"pos_embed": "none"}, {"class_token": True, "global_pool": "token"},
])  # fmt: skip
def test_an_image_side_that_has_more_or_less_is_none(more):
    with torch.random.fork_rng():
        found = siglips.made("open_clip")
        shape = {"class_token": False, "global_pool": "map", **siglips.IMAGE, **more}
        (VisionTransformer,) = other_package("timm.models.vision_transformer", "VisionTransformer")
        found.image_module.trunk = VisionTransformer(**shape)
    assert prompted_image(Tower(found.image_module)) is None


@pytest.mark.parametrize("more", [
    {"no_causal_mask": False}, {"use_pad_mask": True}, {"embed_cls": True}, {"pool_type": "first"},
    {"ls_init_value": 1e-5}, {"proj_bias": False},
])  # fmt: skip
def test_a_text_side_with_a_mask_or_more_parts_is_none(more):
    (TextTransformer,) = other_package("open_clip.transformer", "TextTransformer")
    shape = {"context_length": 8, "vocab_size": 20, "width": 16, "heads": 2, "layers": 1, "output_dim": 16}
    shape = {**shape, "no_causal_mask": True, "pool_type": "last", "proj_bias": True}
    with torch.random.fork_rng():
        text = TextTransformer(**{**shape, **more})
        plain = TextTransformer(**shape)
    assert not takes_text_prompts(text)
    assert takes_text_prompts(plain)


@pytest.mark.parametrize("module", [torch.nn.Linear(2, 2), torch.nn.Sequential(), None])
def test_what_is_of_no_known_package_is_none(module):
    assert not takes_text_prompts(module)
    assert prompted_image(module) is None
