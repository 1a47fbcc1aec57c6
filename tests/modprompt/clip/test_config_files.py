"""Every key of a config is used, plays no part, or stands at the one value that is run; all else is refused by name."""

import copy
import json
from typing import Any

import pytest

from modprompt.clip import config_files
from modprompt.clip.design import Design, Images
from modprompt.errors import UserError

OPEN_CLIP = {
    "model_cfg": {
        "embed_dim": 48,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 32,
            "layers": 3,
            "width": 128,
            "head_width": 32,
            "mlp_ratio": 4.9231,
            "patch_size": 16,
        },
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "layers": 2, "width": 64, "heads": 2},
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.1],
        "interpolation": "bilinear",
        "resize_mode": "squash",
    },
}
SIDE = {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "num_hidden_layers": 2, "num_attention_heads": 4}
TRANSFORMERS: dict[str, Any] = {
    "model_type": "clip",
    "projection_dim": 48,
    "text_config": {**SIDE, "hidden_size": 64, "intermediate_size": 256, "eos_token_id": 2, "vocab_size": 49408},
    "vision_config": {**SIDE, "hidden_size": 128, "intermediate_size": 512, "image_size": 32, "patch_size": 16},
}
IMAGES = {
    "crop_size": {"height": 32, "width": 32},
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.2, 0.2, 0.2],
    "resample": 3,
    "size": {"shortest_edge": 32},
}


def changed(config, path, value):
    """The config with a value at a dotted path; taken out if it is ..., which no config has."""
    found = node = copy.deepcopy(config)
    *steps, leaf = path.split(".")
    for step in steps:
        node = node.setdefault(step, {})
    if value is ...:
        del node[leaf]
    else:
        node[leaf] = value
    return found


@pytest.fixture
def of_open_clip(tmp_path):
    def read(path="embed_dim", value=None):
        config = OPEN_CLIP if value is None else changed(OPEN_CLIP, path, value)
        (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
        return config_files.read_open_clip(tmp_path / "open_clip_config.json")

    return read


@pytest.fixture
def of_transformers(tmp_path):
    def read(path="", value=None, images=IMAGES):
        config = changed(TRANSFORMERS, path, value) if path else TRANSFORMERS
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(images))
        return config_files.read_transformers(tmp_path)

    return read


def test_what_open_clip_states(of_open_clip):
    images = Images(32, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1), "bilinear", "squash")
    said = {
        "embed": 48, "text layers": 2, "text width": 64, "text hidden": 256, "image layers": 3, "image width": 128,
        "image hidden": 630, "patch": 16,
    }  # fmt: skip
    assert of_open_clip() == Design("quick_gelu", (2, 4), images, said)


def test_what_open_clip_leaves_out_has_its_defaults(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"embed_dim": 512, "vision_cfg": {}, "text_cfg": {}}))
    found = config_files.read_open_clip(tmp_path / "c.json")  # a model_cfg alone, as in the package
    assert (found.activation, found.heads, found.images) == ("gelu", (8, 12), Images(224))
    assert found.said["image hidden"] == 3072
    assert found.said["patch"] == 16


@pytest.mark.slow
def test_every_config_of_open_clip_is_read_or_refused_as_what_it_is():
    """The design of its package's own configs is that of its models: see test_known for the tags."""
    from tests.other_clips import other_package

    package = other_package("open_clip")
    runs, refused = [], []
    for name in package.list_models():
        if ":" in name:
            continue
        try:
            config_files.design_of(package.get_model_config(name), {}, name)
        except UserError:
            refused.append(name)
        else:
            runs.append(name)
    assert {"ViT-B-32", "ViT-H-14", "ViT-g-14", "ViT-bigG-14", "RN50x64", "ViT-L-14-336"} <= set(runs)
    assert {"ViT-B-16-SigLIP", "coca_ViT-B-32", "EVA02-B-16", "convnext_base", "roberta-ViT-B-32"} <= set(refused)
    assert {"ViT-L-14-CLIPA", "ViT-H-14-worldwide", "MobileCLIP-B"} <= set(refused)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model_cfg.text_cfg.pool_type", "last", 'text_cfg.pool_type is "last", only "argmax" is supported'),
        ("model_cfg.text_cfg.no_causal_mask", True, "text_cfg.no_causal_mask is true, only false is supported"),
        ("model_cfg.text_cfg.vocab_size", 32000, "text_cfg.vocab_size is 32000, only 49408 is supported"),
        ("model_cfg.text_cfg.context_length", 64, "text_cfg.context_length is 64, only 77 is supported"),
        ("model_cfg.text_cfg.hf_tokenizer_name", "t5", "text_cfg.hf_tokenizer_name"),
        ("model_cfg.text_cfg.norm_kwargs", {"eps": 1e-6}, "text_cfg.norm_kwargs"),
        ("model_cfg.text_cfg.embed_cls", True, "text_cfg.embed_cls"),
        ("model_cfg.text_cfg.proj_bias", True, "text_cfg.proj_bias"),
        ("model_cfg.text_cfg.heads", 0, "text_cfg.heads must be a whole number above 0, got 0"),
        ("model_cfg.text_cfg.heads", "8", 'text_cfg.heads must be a whole number above 0, got "8"'),
        ("model_cfg.text_cfg.new_thing", 1, "text_cfg.new_thing = 1 is not known here"),
        ("model_cfg.vision_cfg.pool_type", "avg", "vision_cfg.pool_type"),
        ("model_cfg.vision_cfg.no_ln_pre", True, "vision_cfg.no_ln_pre"),
        ("model_cfg.vision_cfg.ls_init_value", 1e-4, "vision_cfg.ls_init_value"),
        ("model_cfg.vision_cfg.act_kwargs", {"approximate": "tanh"}, "vision_cfg.act_kwargs"),
        ("model_cfg.vision_cfg.attentional_pool", True, "vision_cfg.attentional_pool"),
        ("model_cfg.vision_cfg.qk_norm", True, "vision_cfg.qk_norm"),
        ("model_cfg.vision_cfg.image_size", [32, 64], "only square images are supported"),
        ("model_cfg.vision_cfg.head_width", 48, "head_width is 48, which does not divide the width 128"),
        ("model_cfg.vision_cfg.mlp_ratio", -1, "mlp_ratio must be a number above 0"),
        ("model_cfg.vision_cfg", 3, "has no vision_cfg"),
        ("model_cfg.quick_gelu", "yes", "quick_gelu must be true or false"),
        ("model_cfg.embed_dim", ..., "embed_dim must be a whole number above 0"),
        ("model_cfg.tower", "x", "tower = .x. is not known here"),
        ("extra", 1, "extra = 1 is not known here"),
        ("preprocess_cfg.resize_mode", "longest", 'resize_mode is "longest", only "shortest" or "squash" is supported'),
        ("preprocess_cfg.interpolation", "nearest", 'interpolation is "nearest"'),
        ("preprocess_cfg.mode", "L", 'mode is "L", only "RGB" is supported'),
        ("preprocess_cfg.mean", [0.5], "mean must be three numbers"),
        ("preprocess_cfg.mean", [0.5, 0.5, float("nan")], "mean must be three numbers"),
        ("preprocess_cfg.std", [0.5, 0.5, 0], "std must be three numbers above 0"),
        ("preprocess_cfg.size", 64, "size is 64, but the model needs images of 32 pixels"),
        ("preprocess_cfg.jitter", 1, "jitter = 1 is not known here"),
        ("model_cfg.init_logit_bias", -10, "init_logit_bias is -10, only null is supported"),
    ],
)  # fmt: skip
def test_what_open_clip_states_and_is_not_run_is_named(of_open_clip, path, value, message):
    with pytest.raises(UserError, match=message) as raised:
        of_open_clip(path, value)
    assert "\n" not in str(raised.value)
    assert "open_clip_config.json" in str(raised.value)


def test_what_transformers_states(of_transformers):
    said = {
        "embed": 48, "text layers": 2, "text width": 64, "text hidden": 256, "image layers": 2, "image width": 128,
        "image hidden": 512, "patch": 16,
    }  # fmt: skip
    assert of_transformers() == Design("gelu", (4, 4), Images(32, (0.5,) * 3, (0.2,) * 3), said)


def test_what_transformers_leaves_out_has_its_defaults(of_transformers):
    assert of_transformers("vision_config.num_attention_heads", ...).heads == (4, 12)
    with pytest.raises(UserError, match="hidden_act is quick_gelu in text_config and gelu in vision_config"):
        of_transformers("text_config.hidden_act", ...)


@pytest.mark.parametrize(
    ("images", "mode"),
    [
        ({"size": 32, "crop_size": 32}, "shortest"),
        ({"size": {"height": 32, "width": 32}, "do_center_crop": False}, "squash"),
        ({"size": {"height": 32, "width": 32}}, "squash"),
    ],
)
def test_how_transformers_scales_images(of_transformers, images, mode):
    assert of_transformers(images={**IMAGES, **images}).images.resize == mode


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model_type", "blip", 'model_type is "blip", only "clip" is supported'),
        ("text_config.hidden_act", "gelu_new", "hidden_act is gelu_new in text_config and gelu in vision_config"),
        ("text_config.layer_norm_eps", 1e-6, "text_config.layer_norm_eps is 1e-06, only 1e-05 is supported"),
        ("text_config.eos_token_id", 7, "text_config.eos_token_id is 7, only 2 or 49407 is supported"),
        ("text_config.max_position_embeddings", 248, "only 77 is supported"),
        ("text_config.quantization_config", {"bits": 4}, "quantization_config = .* is not known here"),
        ("text_config.pruned_heads", {"0": [1]}, "pruned_heads"),
        ("vision_config.num_channels", 1, "num_channels is 1, only 3 is supported"),
        ("vision_config.image_size", 64, "images of 32 pixels, cut to 32, do not fit the model, which needs 64"),
        ("vision_config.num_attention_heads", 0, "num_attention_heads must be a whole number above 0"),
        ("vision_config", ..., "has no vision_config"),
        (
            "text_config_dict",
            {**TRANSFORMERS["text_config"], "hidden_act": "quick_gelu"},
            "text_config and text_config_dict disagree on hidden_act",
        ),
        ("text_config_dict", {}, "text_config and text_config_dict disagree on hidden_size"),  # 512 by its defaults
    ],
)
def test_what_transformers_states_and_is_not_run_is_named(of_transformers, path, value, message):
    with pytest.raises(UserError, match=message) as raised:
        of_transformers(path, value)
    assert "\n" not in str(raised.value)
    assert "config.json" in str(raised.value)


def test_older_config_that_says_the_same_twice_is_read(of_transformers):
    assert of_transformers("text_config_dict", TRANSFORMERS["text_config"]) == of_transformers()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"do_normalize": False}, "do_normalize is false, only true is supported"),
        ({"resample": 0}, "resample is 0, only 2 or 3 is supported"),
        ({"size": {"shortest_edge": 64}}, "images of 64 pixels, cut to 32, do not fit the model, which needs 32"),
        ({"do_center_crop": False}, "do_center_crop is false"),
        ({"image_mean": ["a", 1, 2]}, "image_mean must be three numbers"),
        ({"image_processor_type": "ViTImageProcessor"}, "image_processor_type"),
        ({"size": {"longest_edge": 32}}, "size.longest_edge = 32 is not known here"),
        ({"do_pad": True}, "do_pad is true"),
        ({"rescale_factor": 1}, "rescale_factor is 1"),
    ],
)
def test_images_that_are_made_otherwise_are_named(of_transformers, changes, message):
    with pytest.raises(UserError, match=f"preprocessor_config.json: .*{message}"):
        of_transformers(images={**IMAGES, **changes})
    with pytest.raises(UserError, match="image_std is missing: it does not say how images are made"):
        of_transformers(images={key: value for key, value in IMAGES.items() if key != "image_std"})


def test_configs_that_are_missing_are_named(tmp_path):
    with pytest.raises(UserError, match="config.json is missing: it says how these weights are run"):
        config_files.read_transformers(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(TRANSFORMERS))
    with pytest.raises(UserError, match="preprocessor_config.json is missing"):
        config_files.read_transformers(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(IMAGES))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    with pytest.raises(UserError, match='tokenizer_class is "BertTokenizer", only null or "CLIPTokenizer"'):
        config_files.read_transformers(tmp_path)
