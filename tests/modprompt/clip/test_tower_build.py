"""Dual encoders of open_clip's whose sides are not of the stock shape give what open_clip gives of them."""

import json
import shutil

import pytest
import torch
import torch.nn.functional as F

from modprompt.clip import known, tower_build, tower_config, tower_source
from modprompt.clip.design import Images
from modprompt.clip.facts import fingerprint
from modprompt.clip.sides import has_stock_image, has_stock_text, logit_bias_of
from modprompt.clip.source import Asked, Source
from modprompt.clip.tokenizers import ClipTokenizer
from modprompt.clip.towers import ImageTower, TextTower
from modprompt.errors import UserError
from tests import golden_towers
from tests.other_clips import other_package

CASES = ("siglip", "eva", "convnext", "pe", "timm_vit", "clipa", "coca", "worldwide", "roberta")
TOLERANCE = 1e-5
SMALL = {"layers": 2, "width": 64, "heads": 2}


def differ(one, other):
    return float((one - other).abs().max() / other.abs().max())


def read(model, **images):
    image = model["vision_cfg"]["image_size"]
    return tower_config.read(model, Images(image, **images), "this")


def built(model, state, text_folder=None):
    return tower_build.build(read(model), dict(state), ClipTokenizer(), "these weights", text_folder)


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    (folder / "config.json").write_text(json.dumps(golden_towers.ROBERTA))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=CASES)
def golden(request, text_folder):
    """(a case, its state dict)."""
    case = golden_towers.case(f"open_clip/{request.param}")
    if request.param == "roberta":
        case.config["text_cfg"].update(hf_model_name=str(text_folder), hf_model_pretrained=False)
    return case, golden_towers.fill(golden_towers.open_clips(case))


def test_features_scale_and_logits_are_open_clips(golden, text_folder):
    case, state = golden
    assert golden_towers.names_of(state) == case.names
    drawn = torch.get_rng_state()
    ours = built(case.config, state, text_folder)
    assert torch.equal(torch.get_rng_state(), drawn)
    with torch.no_grad():
        image, text = ours.encode_image(case.images), ours.encode_text(case.ids)
        assert differ(image, case.image) < TOLERANCE
        assert differ(text, case.text) < TOLERANCE
    assert float(ours.logit_scale.detach().exp()) == pytest.approx(case.scale)
    bias = logit_bias_of(ours)
    assert (0.0 if bias is None else float(bias.detach())) == case.bias
    logits = ours.logit_scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).t()
    assert differ(logits.detach() + case.bias, case.logits) < TOLERANCE
    assert not ours.training


def test_no_tensor_may_lack_be_added_or_have_another_shape(golden, text_folder):
    case, state = golden
    for name in (next(iter(state)), "logit_scale", next(name for name in state if name.startswith("visual."))):
        rest = {key: one for key, one in state.items() if key != name}
        with pytest.raises(UserError, match=f"^these weights is not what its config says: .*{name} is missing$"):
            built(case.config, rest, text_folder)
    with pytest.raises(UserError, match="no such model has visual.other$"):
        built(case.config, {**state, "visual.other": torch.zeros(2)}, text_folder)


@pytest.mark.parametrize("case", ["siglip", "worldwide"])
def test_positions_of_another_length_are_not_resized(case):
    case = golden_towers.case(f"open_clip/{case}")
    state = golden_towers.fill(golden_towers.open_clips(case))
    for ending in ("positional_embedding", "pos_embed"):
        for name in (one for one in state if one.endswith(ending)):
            other = {**state, name: state[name][..., :-1, :].clone()}
            with pytest.raises(UserError, match=f"{name} has the shape .*, and positions are not resized here$"):
                built(case.config, other)


def test_bias_that_the_config_has_is_not_made_up():
    case = golden_towers.case("open_clip/siglip")
    state = golden_towers.fill(golden_towers.open_clips(case))
    del state["logit_bias"]
    with pytest.raises(UserError, match="logit_bias is missing$"):
        built(case.config, state)


STOCK_TEXT = {"width": 64, "heads": 2, "layers": 2}
STOCK_IMAGE = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
TIMM = {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None, "image_size": 160}
FAST = {"timm_model_name": "fastvit_t8", "timm_pool": "avg", "timm_proj": None, "image_size": 64}


def oracle(model):
    """open_clip's model, with the numbers of golden weights, and its state dict."""
    package = other_package("open_clip")
    with torch.random.fork_rng(devices=[]):
        made = package.CustomTextCLIP(**model).eval()
    return made, golden_towers.fill(made)


@pytest.mark.parametrize(
    ("image", "text", "stock"),
    [
        (TIMM, STOCK_TEXT, (True, False)),
        (FAST, {**STOCK_TEXT, "no_causal_mask": True}, (False, False)),  # MobileCLIP's: BatchNorm
        (STOCK_IMAGE, {**STOCK_TEXT, "context_length": 32}, (False, True)),
    ],
)
def test_a_stock_side_stays_one_beside_a_tower(image, text, stock):
    model = {"embed_dim": 48, "vision_cfg": image, "text_cfg": text, "quick_gelu": True}
    theirs, state = oracle(model)
    ours = built(model, state)
    assert (has_stock_text(ours), has_stock_image(ours)) == stock
    assert isinstance(ours.visual, ImageTower) != stock[1]
    assert isinstance(ours.text, TextTower) != stock[0]
    images, size = torch.randn(2, 3, image["image_size"], image["image_size"]), text.get("context_length", 77)
    ids = torch.zeros(3, size, dtype=torch.long)
    for row, count in enumerate((2, 5, size - 2)):
        ids[row, : count + 2] = torch.tensor([49406, *range(300, 300 + count), 49407])
    with torch.no_grad():
        assert differ(ours.encode_image(images), theirs.encode_image(images)) < TOLERANCE
        assert differ(ours.encode_text(ids), theirs.encode_text(ids)) < TOLERANCE


NLLB = {  # the text side's config.json
    "model_type": "m2m_100", "vocab_size": 400, "d_model": 32, "encoder_layers": 2, "decoder_layers": 1,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
    "max_position_embeddings": 128, "is_encoder_decoder": True, "dropout": 0.1, "encoder_layerdrop": 0.05,
}  # fmt: skip


def test_nllbs_encoder_is_read_at_its_first_token(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(NLLB))
    text = {"hf_model_name": str(tmp_path), "hf_model_pretrained": False, "hf_proj_type": "linear",
            "hf_pooler_type": "cls_pooler"}  # fmt: skip
    model = {"embed_dim": 48, "vision_cfg": STOCK_IMAGE, "text_cfg": text}
    theirs, state = oracle(model)
    ours = built(model, state, tmp_path)
    assert (has_stock_text(ours), has_stock_image(ours)) == (False, True)
    ids = torch.tensor([[256, 11, 12, 2, *[1] * 73], [256, 13, 14, 15, 16, 2, *[1] * 71]])
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert differ(ours.encode_text(ids), theirs.encode_text(ids)) < TOLERANCE
        assert differ(ours.encode_image(images), theirs.encode_image(images)) < TOLERANCE


def test_configs_of_all_tags_have_the_sides_that_their_rows_say():
    towers = [row for row in known.rows() if row.has_tower]
    for row in towers:
        config = tower_source.config_of(Source(row.name, "", None, Asked(row.name), row))
        assert isinstance(config, tower_config.TowerConfig)
        assert config.has_tower
        assert (bool(config.text), bool(config.image)) == tuple(one == "stock" for one in row.families), row.name
        assert config.images == row.design.images
        assert config.activation == row.design.activation
    assert len(towers) == 100


def test_names_of_tensors_with_and_without_text_in_front_are_one_clip():
    case = golden_towers.case("open_clip/convnext")  # at top level
    state = golden_towers.fill(golden_towers.open_clips(case))
    front = {name if name.startswith(("visual.", "logit")) else f"text.{name}": one for name, one in state.items()}
    models = [built(case.config, one) for one in (state, front)]
    assert len({fingerprint(one.state_dict(), one) for one in models}) == 1


def test_fingerprint_tells_statistics_and_config_and_nothing_of_training():
    model = {"embed_dim": 48, "vision_cfg": FAST, "text_cfg": STOCK_TEXT}
    _, state = oracle(model)

    def of(state, **image):
        ours = built({**model, "vision_cfg": {**FAST, **image}}, state)
        return str(fingerprint(ours.state_dict(), ours))

    plain = of(state)
    assert plain.startswith("t1:")
    assert of(state, timm_drop_path=0.1, timm_model_pretrained=True) == plain
    ours = built({**model, "quick_gelu": False}, state)  # a tag's row says it, a folder's config may leave it out
    assert str(fingerprint(ours.state_dict(), ours)) == plain
    counts = {name: one + 1 if name.endswith("num_batches_tracked") else one for name, one in state.items()}
    assert of(counts) == plain
    mean = next(name for name in state if name.endswith("running_mean"))
    assert of({**state, mean: state[mean] + 1}) != plain
    ours = built({**model, "quick_gelu": True}, state)
    assert str(fingerprint(ours.state_dict(), ours)) != plain


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vision_cfg": {**TIMM, "timm_model_name": "hf-hub:owner/name"}}, "which is not a model of timm's"),
        ({"vision_cfg": {**TIMM, "timm_model_name": "local-dir:/etc"}}, "which is not a model of timm's"),
        ({"vision_cfg": {**TIMM, "timm_model_name": "no_such_model"}}, "open_clip does not build"),
        ({"vision_cfg": {**TIMM, "no_such_key": 1}}, "open_clip does not build"),
        ({"text_cfg": {**STOCK_TEXT, "layers": 1 << 20}}, "layers is 1048576: no CLIP has as many"),
        ({"text_cfg": {**STOCK_TEXT, "width": float("nan")}}, "width is nan"),
        ({"vision_cfg": {**STOCK_IMAGE, "layers": [3, 1 << 20, 3, 3]}}, "layers is 1048576"),
        ({"text_cfg": None}, "has no text_cfg"),
        ({"other": 1}, "other = 1 is not known here"),
        ({"embed_dim": -1}, "embed_dim must be a whole number above 0"),
    ],
)
def test_configs_that_download_or_never_end_are_refused(change, words):
    model = {"embed_dim": 48, "vision_cfg": TIMM, "text_cfg": STOCK_TEXT, **change}
    with pytest.raises(UserError, match=words) as raised:
        built({**model, "vision_cfg": {"image_size": 160, **model["vision_cfg"]}}, {"logit_scale": torch.zeros(())})
    assert "\n" not in str(raised.value)
