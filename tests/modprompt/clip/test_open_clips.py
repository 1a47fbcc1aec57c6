"""CLIPs of open_clip's forms give what open_clip gives of them; nothing in them runs, and what lacks is one line."""

import json
import re
import shutil
import sys

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import modprompt
from modprompt.clip import known, lookup, open_clip_models, open_clips
from modprompt.clip.build import layers_of
from modprompt.clip.facts import facts_of, fingerprint
from modprompt.clip.load import images_of, kinds_and_layers, load_clip
from modprompt.clip.spec import ClipSpec
from modprompt.clip.tokenizers import ClipTokenizer
from modprompt.clip.towers import (
    Tower,
    has_stock_image,
    has_stock_text,
    kinds_of,
    logit_bias_of,
    prompted_image,
    takes_text_prompts,
    tokenizer_of,
)
from modprompt.errors import UserError
from tests import golden_towers, small_tokenizers
from tests.conftest import one_line, slow_but
from tests.other_clips import edit, other_package, write_weights

pytestmark = pytest.mark.filterwarnings("ignore")  # of the packages
CASES = ("siglip", "eva", "convnext", "pe", "timm_vit", "clipa", "coca", "worldwide", "roberta")
TOLERANCE = 1e-5
TEXTS = ["a photo of a cat", "golden retriever"]
STOCK_TEXT = {"layers": 2, "width": 64, "heads": 2}
STOCK_IMAGE = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
STOCK = {"embed_dim": 48, "vision_cfg": STOCK_IMAGE, "text_cfg": STOCK_TEXT}
TIMM = {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None, "image_size": 160}
FAST = {"timm_model_name": "fastvit_t8", "timm_pool": "avg", "timm_proj": None, "image_size": 64}  # BatchNorm
SIGLIP = {
    "embed_dim": 96,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none", "image_size": 160},
    "text_cfg": {
        **STOCK_TEXT, "width": 96, "context_length": 64, "vocab_size": 400, "no_causal_mask": True, "proj_bias": True,
        "pool_type": "last", "hf_tokenizer_name": "timm/ViT-B-16-SigLIP", "tokenizer_kwargs": {"clean": "canonicalize"},
    },
}  # fmt: skip
BIOMED = {
    "embed_dim": 48,
    "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160},
    "text_cfg": {
        "hf_model_name": "microsoft/BiomedNLP-BiomedBERT", "hf_tokenizer_name": "microsoft/BiomedNLP-BiomedBERT",
        "hf_proj_type": "mlp", "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 256,
    },
}  # fmt: skip
BERT = {
    "model_type": "bert", "vocab_size": 400, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 128, "max_position_embeddings": 260, "pad_token_id": 0,
}  # fmt: skip
SQUASH = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}


def differ(one, other):
    return float((one - other).abs().max() / other.abs().max())


def built(model, state):
    checked = open_clips.checked(model, "this: ")
    return open_clip_models.build(checked, dict(state), ClipTokenizer(), "these weights")


def write(folder, model, images=SQUASH, text=None, file="open_clip_model.safetensors", tokenizer=""):
    """A folder as open_clip pushes one; open_clip's own model, whose numbers are golden weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": images}))
    made = json.loads(json.dumps(model))
    made.pop("custom_text", None)
    if text:
        (folder / "text_config").mkdir()
        (folder / "text_config" / "config.json").write_text(json.dumps(text))
        made["text_cfg"].update(hf_model_name=str(folder / "text_config"), hf_model_pretrained=False)
    if tokenizer:
        small_tokenizers.write(folder, tokenizer)
    with torch.random.fork_rng(devices=[]):
        theirs = other_package("open_clip").CustomTextCLIP(**made).eval()
    write_weights(folder, golden_towers.fill(theirs), file)
    return theirs


def same_features(ours, theirs, transform, size):
    """Whether both give one thing of a picture and of texts."""
    rows = torch.tensor([tokenizer_of(ours).row(text) for text in TEXTS])
    pixels = transform(Image.effect_noise((size + 40, size), 80)).unsqueeze(0)
    with torch.no_grad():
        pairs = [
            (ours.encode_image(pixels), theirs.encode_image(pixels)),
            (ours.encode_text(rows), theirs.encode_text(rows)),
        ]
    return all(torch.allclose(one, other, atol=1e-5) for one, other in pairs)


def refusal(*args, **kwargs):
    with pytest.raises(UserError) as raised:
        load_clip(*args, "cpu", **kwargs)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# ---------------------------------------------------------------------- golden towers


@pytest.fixture(scope="module", params=CASES)
def golden(request, tmp_path_factory):
    """(a case, its state dict)."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "config.json").write_text(json.dumps(golden_towers.ROBERTA))
    case = golden_towers.case(f"open_clip/{request.param}")
    if request.param == "roberta":
        case.config["text_cfg"].update(hf_model_name=str(folder), hf_model_pretrained=False)
    yield case, golden_towers.fill(golden_towers.open_clips(case))
    shutil.rmtree(folder)


def test_features_scale_and_logits_are_open_clips(golden):
    case, state = golden
    assert golden_towers.names_of(state) == case.names
    drawn = torch.get_rng_state()
    ours = built(case.config, state)
    assert torch.equal(torch.get_rng_state(), drawn)
    with torch.no_grad():
        image, text = ours.encode_image(case.images), ours.encode_text(case.ids)
        assert differ(image, case.image) < TOLERANCE
        assert differ(text, case.text) < TOLERANCE
        assert differ(ours(case.images, case.ids)[0], case.logits) < TOLERANCE
    assert float(ours.logit_scale.detach().exp()) == pytest.approx(case.scale)
    bias = logit_bias_of(ours)
    assert (0.0 if bias is None else float(bias.detach())) == case.bias
    assert not ours.training


def test_no_tensor_may_lack_be_added_or_have_another_shape(golden):
    """Positions of another length, which open_clip itself resizes without a word, are refused, too."""
    case, state = golden
    positions = [name for name in state if name.endswith(("positional_embedding", "pos_embed"))]
    for name in positions:
        other = {**state, name: state[name][..., :-1, :].clone()}
        with pytest.raises(
            UserError,
            match=f"^these weights: the weights do not match their config .*size mismatch for (text.)?{name}: ",
        ):
            built(case.config, other)
    for name in (next(iter(state)), "logit_scale", next(name for name in state if name.startswith("visual."))):
        with pytest.raises(UserError, match=f'Missing key.*"(text.)?{name}"'):
            built(case.config, {key: one for key, one in state.items() if key != name})
    with pytest.raises(UserError, match='Unexpected key.*"visual.other"'):
        built(case.config, {**state, "visual.other": torch.zeros(2)})


@pytest.mark.parametrize(
    ("image", "text", "stock"),
    [
        (TIMM, STOCK_TEXT, (True, False)),
        (FAST, {**STOCK_TEXT, "no_causal_mask": True}, (False, False)),
        (STOCK_IMAGE, {**STOCK_TEXT, "context_length": 32}, (False, True)),
    ],
)
def test_a_stock_side_stays_one_beside_a_tower(image, text, stock):
    model = {"embed_dim": 48, "vision_cfg": image, "text_cfg": text, "quick_gelu": True}
    with torch.random.fork_rng(devices=[]):
        theirs = other_package("open_clip").CustomTextCLIP(**model).eval()
    ours = built(model, golden_towers.fill(theirs))
    assert (has_stock_text(ours), has_stock_image(ours)) == stock
    ids = torch.zeros(2, text.get("context_length", 77), dtype=torch.long)
    ids[0, :4], ids[1, :5] = torch.tensor([49406, 300, 301, 49407]), torch.tensor([49406, 300, 301, 302, 49407])
    images = torch.randn(2, 3, image["image_size"], image["image_size"])
    with torch.no_grad():
        assert differ(ours.encode_image(images), theirs.encode_image(images)) < TOLERANCE
        assert differ(ours.encode_text(ids), theirs.encode_text(ids)) < TOLERANCE


def test_fingerprint_is_of_weights_and_of_what_decides_features():
    model = {"embed_dim": 48, "vision_cfg": FAST, "text_cfg": STOCK_TEXT}
    with torch.random.fork_rng(devices=[]):
        state = golden_towers.fill(other_package("open_clip").CustomTextCLIP(**model).eval())

    def of(state, image=FAST, **more):
        ours = built({**model, "vision_cfg": image, **more}, state)
        return fingerprint(ours.state_dict(), ours)

    plain = of(state)
    assert plain.startswith("t1:")
    assert of(state, {**FAST, "timm_drop_path": 0.1, "timm_model_pretrained": True}, quick_gelu=False) == plain
    assert of({name.removeprefix("text."): one for name, one in state.items()}) == plain
    assert of({name: one + 1 if name.endswith("num_batches_tracked") else one for name, one in state.items()}) == plain
    mean = next(name for name in state if name.endswith("running_mean"))
    assert len({plain, of({**state, mean: state[mean] + 1}), of(state, quick_gelu=True)}) == 3


# ---------------------------------------------------------------------- folders, files, names


def test_folder_of_a_fine_tuned_siglip(tmp_path):
    theirs = write(tmp_path / "mine", SIGLIP, tokenizer="siglip")
    ours, transform = modprompt.load_clip(tmp_path / "mine", "cpu")
    assert same_features(ours, theirs, transform, 160)
    assert float(logit_bias_of(ours).detach()) == -10
    facts = facts_of(ours)
    assert (facts.file, facts.size, facts.mean, facts.resize) == ("mine", 160, (0.5, 0.5, 0.5), "squash")
    assert (facts.dialect, facts.heads, facts.model) == ("open_clip", (0, 0), "")
    assert (facts.tokenizer["length"], facts.tokenizer["cleaning"]) == (64, "canonicalize")
    assert type(facts).of_record(json.loads(json.dumps(facts.as_record()))) == facts
    assert images_of(ClipSpec(path=str(tmp_path / "mine"))).size == 160
    assert kinds_of(ours) == open_clips.kinds_of(open_clips.checked(SIGLIP, "")) == ("prompted", "features")
    assert kinds_and_layers(ClipSpec(path=str(tmp_path / "mine"))) == (kinds_of(ours), layers_of(ours))


def test_folder_as_biomedclips_trains_a_head(tmp_path):
    theirs = write(tmp_path / "bio", BIOMED, text=BERT, tokenizer="bert")
    edit(tmp_path / "bio" / "text_config" / "config.json", "dtype", value="float16")  # changes nothing
    ours, transform = load_clip(tmp_path / "bio", "cpu")
    assert tokenizer_of(ours).facts.length == 256
    assert same_features(ours, theirs, transform, 160)
    names, images = ["cat", "crop land"], torch.randn(3, 3, 160, 160)
    zero_shot = modprompt.ZeroshotCLIP().on(ours, names).eval()
    rows = torch.tensor([tokenizer_of(ours).row(f"a photo of a {name}.") for name in names])
    with torch.no_grad():
        image, texts = (F.normalize(one, dim=-1) for one in (theirs.encode_image(images), theirs.encode_text(rows)))
        assert torch.allclose(zero_shot(images), theirs.logit_scale.exp() * image @ texts.t(), atol=1e-4)
    head = modprompt.TaskRes().on(ours, names)
    views = [torch.randn(4, head.width) for _ in range(2)]
    head.head.build(head.bank(views, torch.tensor([0, 0, 1, 1])), head.scale())
    head.loss(images, torch.tensor([0, 1, 1])).backward()
    assert all(torch.isfinite(one.grad).all() for one in head.prompt_parameters())


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Lay folders into the cache of a hub; the network is forbidden."""
    constants = other_package("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def lay(repo, folder, commit="a" * 40):
        place = tmp_path / "cache" / ("models--" + repo.replace("/", "--"))
        shutil.copytree(folder, place / "snapshots" / commit)
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text(commit)

    return lay


@pytest.fixture
def tiny_siglip(monkeypatch):
    """Have open_clip say of a name of its that it is a tiny model."""
    named = {**SIGLIP, "vision_cfg": {"timm_model_name": "test_convnext", "timm_pool": "", "image_size": 224}}
    monkeypatch.setattr(other_package("open_clip"), "get_model_config", lambda name: json.loads(json.dumps(named)))
    return named


def test_tag_brings_weights_and_the_tokenizer_that_its_config_names(tmp_path, hub, tiny_siglip, caplog):
    theirs = write(tmp_path / "w", tiny_siglip)
    hub("timm/ViT-B-16-SigLIP2", tmp_path / "w", "b" * 40)
    name = "ViT-B-16-SigLIP2/webli"
    assert "timm/ViT-B-16-SigLIP@main" in refusal(name)  # no tokenizer yet
    hub("timm/ViT-B-16-SigLIP", small_tokenizers.write(tmp_path / "t", "siglip"))
    ours, _ = load_clip(name, "cpu")
    facts = facts_of(ours)
    assert (facts.name, facts.commit, facts.size, facts.resize) == (name, "b" * 40, 224, "squash")
    rows = torch.tensor([tokenizer_of(ours).row(text) for text in TEXTS])
    assert torch.allclose(ours.encode_text(rows), theirs.encode_text(rows), atol=1e-5)
    assert f"{name}: open_clip_model.safetensors of timm/ViT-B-16-SigLIP2 at commit {'b' * 40}" in caplog.messages
    assert known.pinned(facts.name, facts.commit) == f"{name}@{'b' * 40}"
    assert load_clip(f"{name}@{'b' * 40}", "cpu")[0].fingerprint == ours.fingerprint


def test_hubs_name_is_run_by_the_repositorys_config_and_files(tmp_path, hub):
    theirs = write(tmp_path / "w", SIGLIP, images={**SQUASH, "interpolation": "bilinear"})
    hub("me/bare", tmp_path / "w")
    hub("timm/ViT-B-16-SigLIP", small_tokenizers.write(tmp_path / "t", "siglip"))
    assert "the tokenizer of timm/ViT-B-16-SigLIP is missing in the folder of the weights" in refusal(
        "hf-hub:me/bare"
    )  # not asked for
    small_tokenizers.write(tmp_path / "w", "siglip")
    hub("me/mine", tmp_path / "w", "c" * 40)
    ours, transform = load_clip("hf-hub:me/mine", "cpu")
    assert same_features(ours, theirs, transform, 160)
    assert facts_of(ours).interpolation == "bilinear"
    assert facts_of(ours).name == f"hf-hub:me/mine@{'c' * 40}"


@pytest.mark.slow
def test_lone_file_needs_its_models_name_and_its_tokenizer_beside_it(tmp_path, tiny_siglip):
    theirs = write(tmp_path / "w", tiny_siglip, file="mine.pt")
    (tmp_path / "w" / "open_clip_config.json").unlink()
    file = tmp_path / "w" / "mine.pt"
    assert "set MODEL.BACKBONE.MODEL (in Python: model=) to open_clip's name of the model" in refusal(file)
    assert "the tokenizer of timm/ViT-B-16-SigLIP is missing in the folder of the weights" in refusal(
        file, model="ViT-B-16-SigLIP2"
    )
    small_tokenizers.write(tmp_path / "w", "siglip")
    ours, _ = load_clip(file, "cpu", model="ViT-B-16-SigLIP2")
    assert (facts_of(ours).model, facts_of(ours).resize) == ("ViT-B-16-SigLIP2", "squash")
    same = load_clip(file, "cpu", model="ViT-B-16-SigLIP2/webli")[0]
    assert facts_of(same).fingerprint == facts_of(ours).fingerprint
    rows = torch.tensor([tokenizer_of(ours).row(text) for text in TEXTS])
    assert torch.allclose(ours.encode_text(rows), theirs.encode_text(rows), atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"model": "ViT-B-16-SigLIP3"}, "open_clip has no model 'ViT-B-16-SigLIP3'. Did you mean"),
        (
            {"model": "ViT-B-16"},
            "the pretrained tags of ViT-B-16 use different activation functions or image preprocessing. Set MODEL.BACKBONE.MODEL to ViT-B-16/openai or ",
        ),
        (
            {"model": "ViT-B-16-SigLIP2", "activation": "gelu"},
            "need additional settings. Set either both MODEL.BACKBONE.ACTIVATION and MODEL.BACKBONE.HEADS, or only MODEL.BACKBONE.MODEL",
        ),
        ({"model": "ViT-B-16/dfn2b", "write": STOCK}, "embed_dim is 48 in the weights, but 512 in the config"),
        (
            {"model": "ViT-B-32", "write": {**STOCK, "quick_gelu": True}},
            "the pretrained tags of ViT-B-32 use different activation functions or image preprocessing",
        ),
    ],
)
def test_model_that_does_not_say_it_is_refused(asked, message, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"")
    given = asked.pop("write", None)
    if given:
        write(tmp_path / "w", given, file="mine.safetensors")
        shutil.copy(tmp_path / "w" / "mine.safetensors", tmp_path)
    assert message in refusal(tmp_path / "mine.safetensors", **asked)


def test_file_of_another_size_is_not_resized(tmp_path):
    """A ViT-B-32 for 256 pixels given as the 224 of its name."""
    image = {"image_size": 256, "layers": 2, "width": 128, "patch_size": 32}
    write(
        tmp_path / "w",
        {"embed_dim": 48, "quick_gelu": True, "vision_cfg": image, "text_cfg": {**STOCK_TEXT, "heads": 1}},
    )
    edit(tmp_path / "w" / "open_clip_config.json", "model_cfg", "vision_cfg", "image_size", value=224)
    assert "image_size is 256 in the weights, but 224 in the config" in refusal(tmp_path / "w")
    edit(tmp_path / "w" / "open_clip_config.json", "model_cfg", "quick_gelu", value=False)
    assert "size mismatch for visual.positional_embedding: " in refusal(tmp_path / "w")


OWN_CODE = "raise SystemExit('it was run')\n"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("model_cfg.text_cfg.hf_tokenizer_name", None, "the config does not specify a tokenizer"),
        ("model_cfg.text_cfg.vocab_size", 10, "the text encoder has 10 token embeddings, "),
        ("model_cfg.text_cfg.context_length", 32, "size mismatch for text.positional_embedding"),
        ("model_cfg.text_cfg.context_length", "64", "open_clip cannot build a model"),
        ("model_cfg.text_cfg.width", float("nan"), "open_clip cannot build a model"),
        ("model_cfg.text_cfg.tokenizer_kwargs", "clean", "text_cfg.tokenizer_kwargs is not supported"),
        ("model_cfg.text_cfg.tokenizer_kwargs", {"clean": "all"}, "The tokenizer in "),
        ("model_cfg.text_cfg.tokenizer_kwargs", {"trust_remote_code": True}, "tokenizer_kwargs is not supported (got an unexpected keyword argument 'trust_remote_code'"),
        ("model_cfg.text_cfg.tokenizer_mode", "clips", "tokenizer_mode 'clips' is not supported"),
        ("model_cfg.text_cfg.hf_model_name", "owner/name", "text_config/config.json, the config of the text encoder owner/name, is missing"),
        ("model_cfg.vision_cfg.timm_model_name", "hf-hub:owner/name", "which is not the name of a timm model"),
        ("model_cfg.vision_cfg.timm_model_name", "local-dir:/etc", "which is not the name of a timm model"),
        ("model_cfg.vision_cfg.timm_model_name", "no_such_model", "open_clip cannot build a model"),
        ("model_cfg.vision_cfg.image_size", [160, 192], "must be a single number of pixels"),
        ("model_cfg.vision_cfg.no_such_key", 1, "vision_cfg is not supported (CLIPVisionCfg.__init__() got an unexpected keyword argument 'no_such_key'"),
        ("model_cfg.multimodal_cfg", "x", "multimodal_cfg is not supported"),
        ("model_cfg.init_logit_bias", "x", "open_clip cannot build a model"),
        ("model_cfg.init_logit_bias", None, 'Unexpected key(s) in state_dict: "logit_bias"'),
        ("model_cfg.text_cfg", None, "text_cfg is not supported"),
        ("model_cfg.embed_dim", -1, "open_clip cannot build a model"),
        ("model_cfg.text_cfg.width", "x", "the config is not supported ("),
        ("model_cfg.vision_cfg.image_size", {"a": 1}, "must be a single number of pixels"),
        ("model_cfg.other", 1, "is not supported (got an unexpected keyword argument 'other'"),
        ("preprocess_cfg.mode", "L", "preprocess_cfg is not supported"),
        ("preprocess_cfg.resize_mode", "longest", "resize_mode shortest or squash are supported"),
        ("preprocess_cfg.mean", [0.5], "mean must be three numbers"),
        ("other", 1, "the key other is not supported"),
    ],
)  # fmt: skip
def test_traps_of_a_folder_are_refused(place, value, message, tmp_path):
    """Among them what open_clip would download or run; code that lies in the folder is never run."""
    write(tmp_path / "w", SIGLIP, tokenizer="siglip")
    (tmp_path / "w" / "own.py").write_text(OWN_CODE)
    edit(tmp_path / "w" / "tokenizer_config.json", "auto_map", value={"AutoTokenizer": ["own.OwnTokenizer", None]})
    edit(tmp_path / "w" / "open_clip_config.json", *place.split("."), value=value)
    with one_line(re.escape(message)):
        load_clip(tmp_path / "w", "cpu")


def test_what_is_missing_is_said(tmp_path):
    write(tmp_path / "w", SIGLIP, tokenizer="siglip")
    edit(tmp_path / "w" / "open_clip_config.json", "model_cfg", "text_cfg", "hf_tokenizer_name", value="../../x")
    assert load_clip(tmp_path / "w", "cpu")  # the folder's own is taken, whatever it says
    (tmp_path / "w" / "tokenizer.json").unlink()
    assert (
        "the tokenizer of ../../x is missing in the folder of the weights. Copy those of the following files"
        in refusal(tmp_path / "w")
    )
    (tmp_path / "w" / "open_clip_model.safetensors").unlink()  # open_clip would give a random model
    assert "must contain exactly one file of weights" in refusal(tmp_path / "w")
    write(tmp_path / "b", BIOMED, text=BERT, tokenizer="bert")
    edit(tmp_path / "b" / "text_config" / "config.json", "pad_token_id", value=5)
    assert "padding id 5 and end id None, but the tokenizer" in refusal(tmp_path / "b")
    edit(tmp_path / "b" / "text_config" / "config.json", "max_position_embeddings", value="many")
    assert "the config is not supported (" in refusal(tmp_path / "b")
    edit(tmp_path / "b" / "text_config" / "config.json", "max_position_embeddings", value=100)
    assert "the context_length is 256, but the text encoder has fewer positions" in refusal(tmp_path / "b")
    (tmp_path / "b" / "text_config" / "own.py").write_text(OWN_CODE)
    edit(tmp_path / "b" / "text_config" / "config.json", "auto_map", value={"AutoConfig": "own.Config"})
    assert "refers to custom code, which modprompt never runs" in refusal(tmp_path / "b")


@pytest.mark.parametrize(
    ("module", "version", "message"),
    [
        ("open_clip", "3.2.0", "needs open_clip_torch>=3.3,<4, but version 3.2.0 is installed. Run `pip install"),
        ("transformers", "4.57.0", "needs transformers>=5,<6, but version 4.57.0 is installed"),
        ("open_clip", None, "needs open_clip_torch>=3.3,<4 (import of open_clip halted"),
    ],
)
def test_packages_that_are_lacking_or_old_are_one_line(module, version, message, tmp_path, monkeypatch):
    write(tmp_path / "w", SIGLIP, tokenizer="siglip")
    if version is None:
        monkeypatch.setitem(sys.modules, module, None)
    else:
        monkeypatch.setattr(other_package(module), "__version__", version)
    assert message in refusal(tmp_path / "w")
    monkeypatch.setattr("modprompt.clip.hub.snapshot", lambda *_: pytest.fail("downloaded before"))
    assert message in refusal("ViT-B-16-SigLIP2/webli")


# ---------------------------------------------------------------------- open_clip's tags


def test_a_tag_is_run_with_quick_gelu_if_it_or_its_config_says_so_and_disagreement_is_said():
    package, disagree, wrong = other_package("open_clip"), set(), []
    for model, tag in open_clips.tags():
        found, config = open_clips.tag(f"{model}/{tag}"), package.get_model_config(model)
        said = {bool(one.get("quick_gelu")) for one in (config, package.get_pretrained_cfg(model, tag))}
        if (found.model["quick_gelu"], found.differ) != (any(said), len(said) == 2):
            wrong.append(found)
        disagree |= {found.name} if found.differ else set()
    assert wrong == []
    assert {"ViT-B-16/dfn2b", "roberta-ViT-B-32/laion2b_s12b_b32k"} <= disagree
    with pytest.warns(
        UserWarning, match="^roberta-ViT-B-32/.*different activation functions .* The model uses quick_gelu"
    ):
        refusal("roberta-ViT-B-32/laion2b_s12b_b32k")


FIRST = ("ViT-B-16", "ViT-B-16-SigLIP2", "MobileCLIP2-S0", "PE-Core-T-16-384", "ViT-H-14-CLIPA", "nllb-clip-base")


@pytest.mark.parametrize("model", slow_but(dict.fromkeys(model for model, _ in open_clips.tags()), *FIRST))
def test_what_prompts_can_go_into_is_known_before_a_model_is_built(model):
    """Of each model that open_clip builds of its config, without weights; a text side of transformers' is not built."""
    image_tower, text_tower = other_package("open_clip.model", "_build_vision_tower", "_build_text_tower")
    config = open_clips.model_config(model, "")
    found, embed = open_clips.kinds_of(config), config["embed_dim"]
    with torch.device("meta"):
        image = prompted_image(Tower(image_tower(embed, dict(config["vision_cfg"]))))
        other = bool(config["text_cfg"].get("hf_model_name"))
        text = not other and takes_text_prompts(text_tower(embed, dict(config["text_cfg"])))
    assert (found.text == "prompted") == (open_clips.is_stock_side(config, "text_cfg") or text)
    stock = open_clips.is_stock_side(config, "vision_cfg") and not isinstance(config["vision_cfg"]["layers"], list)
    assert (found.image == "prompted") == (stock or image is not None)


def test_names_are_checked_and_near_ones_proposed(monkeypatch):
    assert known.plain("ViT-B-16-quickgelu/openai") == known.plain("ViT-B-16/openai") == "ViT-B/16"
    assert lookup.kinds_and_layers("ViT-B-16/laion2b_s34b_b88k") == (("prompted", "prompted"), (12, 12))
    assert lookup.kinds_and_layers("RN50") == (("prompted", "ResNet"), (12, 0))
    assert lookup.repository("ViT-B-16/dfn2b@main") == ("apple/DFN2B-CLIP-ViT-B-16", "main")
    assert lookup.repository("ViT-B/16") is lookup.repository("glyph-clip") is None
    for name, message in (
        ("ViT-B-16/laion2b", "open_clip has no CLIP model 'ViT-B-16/laion2b'. Did you mean 'ViT-B-16/"),
        ("ViTB16", "Unknown CLIP model 'ViTB16'. Did you mean 'ViT-B/16'"),
        ("", "No CLIP model is specified. Set --backbone to a name (for example ViT-B/16)"),
        ("hf-hub:me", "'hf-hub:me' is not the name of a repository on the Hugging Face hub. Write hf-hub:owner/name"),
    ):
        with pytest.raises(UserError) as raised:
            lookup.require(name, "MODEL.BACKBONE.NAME")
        assert str(raised.value).startswith(f"MODEL.BACKBONE.NAME: {message}")
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(
        UserError,
        match="is not one of OpenAI's CLIP models, so the model must come from open_clip. This CLIP model needs",
    ):
        lookup.require("ViT-B-16/dfn2b")
