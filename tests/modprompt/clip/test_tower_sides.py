"""Which modules of other packages are a SigLIP's sides."""

import pytest
import torch

from modprompt.clip import known
from modprompt.clip.tower_sides import image_side, text_side
from tests import siglips
from tests.other_clips import other_package


@pytest.mark.parametrize("kind", siglips.IMAGE_KINDS)
def test_sides_hold_the_packages_own_weights_and_no_others(kind):
    found = siglips.made(kind)
    for side, module in (
        (text_side(found.text_module), found.text_module),
        (image_side(found.image_module), found.image_module),
    ):
        assert {id(one) for one in side.parameters()} == {id(one) for one in module.parameters()}


@pytest.mark.parametrize(
    "more",
    [
        {"class_token": True},
        {"reg_tokens": 1},
        {"init_values": 1e-5},
        {"qk_norm": True},
        {"global_pool": "avg"},
        {"qkv_bias": False},
        {"pos_embed": "none"},
        {"class_token": True, "global_pool": "token", "no_embed_class": True},
        {"class_token": True, "global_pool": "token", "reg_tokens": 1},
    ],
)
def test_an_image_side_that_has_more_or_less_is_none(more):
    with torch.random.fork_rng():
        found = siglips.made("open_clip")
        shape = {"class_token": False, "global_pool": "map", **siglips.IMAGE, **more}
        (VisionTransformer,) = other_package("timm.models.vision_transformer", "VisionTransformer")
        found.image_module.trunk = VisionTransformer(**shape)
    assert image_side(found.image_module) is None


@pytest.mark.parametrize(
    "more",
    [
        {"no_causal_mask": False},
        {"use_pad_mask": True},
        {"embed_cls": True},
        {"pool_type": "first"},
        {"ls_init_value": 1e-5},
        {"proj_bias": False},
    ],
)
def test_a_text_side_with_a_mask_or_more_parts_is_none(more):
    (TextTransformer,) = other_package("open_clip.transformer", "TextTransformer")
    shape = {"context_length": 8, "vocab_size": 20, "width": 16, "heads": 2, "layers": 1, "output_dim": 16}
    shape = {**shape, "no_causal_mask": True, "pool_type": "last", "proj_bias": True}
    with torch.random.fork_rng():
        text = TextTransformer(**{**shape, **more})
        plain = TextTransformer(**shape)
    assert text_side(text) is None
    assert text_side(plain) is not None


ROWS = list({row.model: row for row in known.rows() if row.has_tower}.values())
FIRST = list({row.families: row for row in reversed(ROWS)}.values())  # of each pair of families


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.model, marks=[] if row in FIRST else pytest.mark.slow) for row in ROWS]
)
def test_the_table_says_what_prompts_can_go_into(row):
    """Of each model that open_clip builds of its config, without weights; a text side of transformers' is not built."""
    image_tower, text_tower = other_package("open_clip.model", "_build_vision_tower", "_build_text_tower")
    config = other_package("open_clip").get_model_config(row.model)
    embed = config["embed_dim"]
    with torch.device("meta"):
        image = image_side(image_tower(embed, config["vision_cfg"]))
        other = bool(config["text_cfg"].get("hf_model_name"))
        text = None if other else text_side(text_tower(embed, config["text_cfg"]))
    assert (row.kinds.text == "prompted") == (row.families[0] == "stock" or text is not None)
    assert (row.kinds.image == "prompted") == (row.families[1] == "stock" or image is not None)


@pytest.mark.parametrize("module", [torch.nn.Linear(2, 2), torch.nn.Sequential(), None])
def test_what_is_of_no_known_package_is_none(module):
    assert text_side(module) is None
    assert image_side(module) is None
