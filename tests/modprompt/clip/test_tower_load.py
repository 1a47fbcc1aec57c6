"""CLIPs with towers from names, hubs, files and folders: all of it is the package's own, and what lacks is one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import modprompt
from modprompt.clip.config_files import images_of_folder
from modprompt.clip.facts import facts_of
from modprompt.clip.load import load_clip
from modprompt.clip.reading import describe, images_of
from modprompt.clip.sides import has_stock_image, has_stock_text, kinds_of, logit_bias_of, tokenizer_of
from modprompt.clip.source import Asked
from modprompt.errors import UserError
from modprompt.programs import left_as_found
from tests import golden_towers, small_tokenizers
from tests.other_clips import other_package, write_weights

pytestmark = pytest.mark.filterwarnings("ignore")  # of the packages
TEXTS = ["a photo of a cat", "golden retriever"]
STOCK_TEXT = {"layers": 2, "width": 64, "heads": 2}
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
NAMED = {**SIGLIP, "vision_cfg": {"timm_model_name": "test_convnext", "timm_pool": "", "image_size": 224}}
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
STOCK = {"embed_dim": 48, "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
         "text_cfg": STOCK_TEXT}  # fmt: skip
SQUASH = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}


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
    with torch.random.fork_rng(devices=[]), left_as_found():
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


def change(path, place, value):
    """Set a value of a JSON file, or take it out (...)."""
    content = json.loads(path.read_text())
    *keys, last = place.split(".")
    part = content
    for key in keys:
        part = part[key]
    part.pop(last, None)
    if value is not ...:
        part[last] = value
    path.write_text(json.dumps(content))


def refusal(*args, **kwargs):
    with pytest.raises(UserError) as raised:
        load_clip(*args, "cpu", **kwargs)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_folder_of_a_fine_tuned_siglip(tmp_path):
    theirs = write(tmp_path / "mine", SIGLIP, tokenizer="siglip")
    ours, transform = modprompt.load_clip(tmp_path / "mine", "cpu")
    assert same_features(ours, theirs, transform, 160)
    assert float(logit_bias_of(ours).detach()) == -10
    facts = facts_of(ours)
    assert (facts.file, facts.size, facts.mean, facts.resize) == ("mine", 160, (0.5, 0.5, 0.5), "squash")
    assert (facts.dialect, facts.heads, facts.model) == ("open_clip", (0, 0), "")
    assert facts.tokenizer["length"] == 64
    assert facts.tokenizer["cleaning"] == "canonicalize"
    assert type(facts).of_record(json.loads(json.dumps(facts.as_record()))) == facts
    assert images_of(Asked(path=str(tmp_path / "mine"))).size == 160
    assert "160 pixels" in describe(Asked(path=str(tmp_path / "mine")))
    for option in ({"activation": "gelu", "heads": (2, 2)}, {"heads": (8, 12)}):
        assert "ACTIVATION and HEADS are not read here: " in refusal(tmp_path / "mine", **option)


def test_folder_as_biomedclips(tmp_path):
    theirs = write(tmp_path / "bio", BIOMED, text=BERT, tokenizer="bert")
    ours, transform = load_clip(tmp_path / "bio", "cpu")
    assert tokenizer_of(ours).facts.length == 256
    assert same_features(ours, theirs, transform, 160)


def test_folder_of_a_stock_fine_tune_runs_everything_and_needs_no_tower(tmp_path):
    write(tmp_path / "remote", STOCK)
    ours, _ = load_clip(tmp_path / "remote", "cpu")
    assert kinds_of(ours) == ("prompted", "prompted")
    assert facts_of(ours).tokenizer == {}
    for key, value in {"vision_cfg.timm_model_name": "", "text_cfg.hf_model_name": "", "init_logit_scale": 1e9}.items():
        change(tmp_path / "remote" / "open_clip_config.json", f"model_cfg.{key}", value)  # says nothing of it
    assert load_clip(tmp_path / "remote", "cpu")[0].fingerprint == ours.fingerprint
    assert "tokenizer" not in facts_of(ours).as_record()


@pytest.mark.parametrize(
    ("model", "text", "tokenizer", "size"),
    [(SIGLIP, None, "siglip", 160), (BIOMED, BERT, "bert", 160), (STOCK, None, "", 32)],
    ids=["siglip", "biomed", "stock"],
)
def test_zero_shot_and_a_head_run_on_these_folders(model, text, tokenizer, size, tmp_path):
    theirs = write(tmp_path / "w", model, text=text, tokenizer=tokenizer)
    ours, _ = load_clip(tmp_path / "w", "cpu")
    names, images = ["cat", "crop land"], torch.randn(3, 3, size, size)
    zero_shot = modprompt.ZeroshotCLIP().on(ours, names).eval()
    rows = torch.tensor([tokenizer_of(ours).row(f"a photo of a {name}.") for name in names])
    with torch.no_grad():
        image, texts = (F.normalize(one, dim=-1) for one in (theirs.encode_image(images), theirs.encode_text(rows)))
        assert torch.allclose(zero_shot(images), theirs.logit_scale.exp() * image @ texts.t(), atol=1e-4)
    head = modprompt.TaskRes().on(ours, names)
    views = [torch.randn(4, head.width) for _ in range(2)]
    head.head.build(head.bank(views, torch.tensor([0, 0, 1, 1])), head.scale())
    loss = head.loss(images, torch.tensor([0, 1, 1]))
    loss.backward()
    assert all(torch.isfinite(one.grad).all() for one in head.prompt_parameters())


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Lay folders into the cache of a hub; the network is forbidden."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def lay(repo, folder, commit="a" * 40):
        place = tmp_path / "cache" / ("models--" + repo.replace("/", "--"))
        shutil.copytree(folder, place / "snapshots" / commit)
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text(commit)

    return lay


@pytest.fixture
def tiny_siglip(monkeypatch):
    """Have open_clip say of a name of its that it is a tiny model."""
    package = other_package("open_clip")
    monkeypatch.setattr(package, "get_model_config", lambda name: json.loads(json.dumps(NAMED)))


def test_name_brings_weights_and_the_tokenizer_that_its_config_names(tmp_path, hub, tiny_siglip, caplog):
    theirs = write(tmp_path / "w", NAMED)
    hub("timm/ViT-B-16-SigLIP2", tmp_path / "w", "b" * 40)
    name = "ViT-B-16-SigLIP2/webli"
    assert "timm/ViT-B-16-SigLIP" in refusal(name)  # no tokenizer yet
    hub("timm/ViT-B-16-SigLIP", small_tokenizers.write(tmp_path / "t", "siglip"))
    ours, _ = load_clip(name, "cpu")
    facts = facts_of(ours)
    assert (facts.name, facts.commit, facts.size, facts.resize) == (name, "b" * 40, 224, "squash")
    rows = torch.tensor([tokenizer_of(ours).row(text) for text in TEXTS])
    assert torch.allclose(ours.encode_text(rows), theirs.encode_text(rows), atol=1e-5)
    assert [record.getMessage() for record in caplog.records][-2:] == [
        f"{name}: tokenizer.json, tokenizer_config.json of timm/ViT-B-16-SigLIP at commit {'a' * 40}",
        f"{name}: open_clip_model.safetensors of timm/ViT-B-16-SigLIP2 at commit {'b' * 40}",
    ]


def test_hubs_name_is_run_by_the_repositorys_config(tmp_path, hub, caplog):
    theirs = write(tmp_path / "w", SIGLIP, images={**SQUASH, "interpolation": "bilinear"})
    hub("me/mine", tmp_path / "w")
    hub("timm/ViT-B-16-SigLIP", small_tokenizers.write(tmp_path / "t", "siglip"))
    ours, transform = load_clip("hf-hub:me/mine", "cpu")
    said = "open_clip_model.safetensors, open_clip_config.json of me/mine at commit "
    assert said in caplog.records[-1].getMessage()
    assert same_features(ours, theirs, transform, 160)
    assert facts_of(ours).interpolation == "bilinear"
    assert facts_of(ours).name == f"hf-hub:me/mine@{'a' * 40}"


def test_lone_file_needs_its_models_name_and_its_tokenizer_beside_it(tmp_path, tiny_siglip, hub):
    theirs = write(tmp_path / "w", NAMED, file="mine.pt")
    (tmp_path / "w" / "open_clip_config.json").unlink()
    file = tmp_path / "w" / "mine.pt"
    assert "need open_clip's name of the model, MODEL.BACKBONE.MODEL, in Python model=" in refusal(file)
    hub("timm/ViT-B-16-SigLIP", small_tokenizers.write(tmp_path / "other", "siglip"))
    shutil.rmtree(tmp_path / "cache" / "models--timm--ViT-B-16-SigLIP" / "snapshots" / ("a" * 40))
    assert "it needs the tokenizer of timm/ViT-B-16-SigLIP in its folder" in refusal(file, model="ViT-B-16-SigLIP2")
    small_tokenizers.write(tmp_path / "w", "siglip")
    ours, _ = load_clip(file, "cpu", model="ViT-B-16-SigLIP2")
    assert facts_of(ours).model == "ViT-B-16-SigLIP2"
    assert facts_of(ours).resize == "squash"  # of the tag, though a file given to open_clip has defaults
    same = load_clip(file, "cpu", model="ViT-B-16-SigLIP2/webli")[0]
    assert facts_of(same).fingerprint == facts_of(ours).fingerprint
    rows = torch.tensor([tokenizer_of(ours).row(text) for text in TEXTS])
    assert torch.allclose(ours.encode_text(rows), theirs.encode_text(rows), atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"model": "ViT-B-16-SigLIP3"}, "there is no model 'ViT-B-16-SigLIP3' of open_clip's; did you mean"),
        ({"model": "ViT-B-16"}, "weights of ViT-B-16 are run differently: name ViT-B-16/laion400m_e31 or "),
        ({"model": "ViT-B-16-SigLIP2", "activation": "gelu"}, "leave out ACTIVATION and HEADS"),
    ],
)
def test_model_that_does_not_say_it_is_refused(asked, message, tmp_path):
    (tmp_path / "mine.pt").write_bytes(b"PK\3\4")
    assert message in refusal(tmp_path / "mine.pt", **asked)


def test_model_is_for_files_that_say_nothing(tmp_path):
    write(tmp_path / "w", STOCK)
    assert "is for a file of which nothing else says it" in refusal(tmp_path / "w", model="ViT-B-16-SigLIP2")
    assert "glyph-clip already says it" in refusal("glyph-clip", model="ViT-B-16-SigLIP2")


def test_name_of_a_stock_model_says_it_of_a_file(tmp_path):
    assert "the table of known CLIPs: 12 heads do not divide" in refusal(
        Path(shutil.copy(_stock_file(tmp_path), tmp_path / "one.safetensors")), model="ViT-B-16/dfn2b"
    )


def _stock_file(tmp_path):
    write(tmp_path / "stock", STOCK)
    return tmp_path / "stock" / "open_clip_model.safetensors"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model_cfg.text_cfg.hf_tokenizer_name", ..., "its config names no tokenizer"),
        ("model_cfg.text_cfg.vocab_size", 10, "has the shape|words, but the CLIP 10 embeddings"),
        ("model_cfg.text_cfg.context_length", 32, "positional_embedding has the shape .* positions are not resized"),
        ("model_cfg.text_cfg.context_length", "64", "context_length must be a whole number from 1 to 4096, got 64"),
        ("model_cfg.text_cfg.context_length", 1 << 20, "context_length must be a whole number from 1 to 4096"),
        ("model_cfg.text_cfg.tokenizer_kwargs", "clean", "tokenizer_kwargs must be an object"),
        ("model_cfg.text_cfg.tokenizer_kwargs", {"clean": "all"}, 'clean is "all", only "canonicalize" or'),
        ("model_cfg.text_cfg.hf_tokenizer_name", 3, None),
        ("model_cfg.multimodal_cfg", "x", "open_clip does not build"),
        ("model_cfg.init_logit_bias", "x", "open_clip does not build"),
        ("model_cfg.text_cfg.tokenizer_mode", "clips", "tokenizer_mode is 'clips'"),
        ("model_cfg.text_cfg.tokenizer_kwargs", {"reduction_mask": "random"}, "reduction_mask = .* is not known here"),
        ("model_cfg.text_cfg.hf_tokenizer_name", "../../x", None),  # the folder's own is taken, whatever it says
        ("model_cfg.vision_cfg.image_size", 192, "does not accept images of 192 pixels"),
        ("preprocess_cfg.resize_mode", "longest", 'resize_mode is "longest"'),
        ("model_cfg.init_logit_bias", ..., "no such model has logit_bias"),
    ],
)
def test_traps_of_a_folder_are_refused(path, value, message, tmp_path):
    write(tmp_path / "w", SIGLIP, tokenizer="siglip")
    change(tmp_path / "w" / "open_clip_config.json", path, value)
    if message is None:
        assert load_clip(tmp_path / "w", "cpu")
        return
    with pytest.raises(UserError, match=message) as raised:
        load_clip(tmp_path / "w", "cpu")
    assert "\n" not in str(raised.value)


def test_what_is_missing_is_said(tmp_path, hub):
    write(tmp_path / "w", SIGLIP, tokenizer="siglip")
    (tmp_path / "w" / "tokenizer.json").unlink()
    assert "it needs the tokenizer of timm/ViT-B-16-SigLIP in its folder: copy its files (tokenizer.json, " in refusal(
        tmp_path / "w"
    )
    (tmp_path / "w" / "open_clip_model.safetensors").unlink()  # open_clip would give a random model
    assert "must hold one file of weights" in refusal(tmp_path / "w")
    write(tmp_path / "b", BIOMED, text=BERT, tokenizer="bert")
    change(tmp_path / "b" / "text_config" / "config.json", "pad_token_id", 5)
    assert "the padding id of this tokenizer is 0, but the CLIP looks for 5" in refusal(tmp_path / "b")
    change(tmp_path / "b" / "open_clip_config.json", "model_cfg.text_cfg.context_length", 261)
    assert "context_length is 261, but its text side has 260 positions" in refusal(tmp_path / "b")
    change(tmp_path / "b" / "text_config" / "config.json", "auto_map", {"AutoModel": "own.Model"})
    assert "names code of its own, which is never run" in refusal(tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "text_config")
    assert "it needs text_config/config.json in its folder" in refusal(tmp_path / "b")


@pytest.mark.parametrize(
    ("package", "version", "message"),
    [
        ("open_clip_torch", "3.2.0", "needs open_clip_torch>=3.3,<4, 3.2.0 is installed: pip install"),
        ("timm", "1.0.16", "needs timm>=1.0.17,<2, 1.0.16 is installed"),
        ("transformers", "4.57.0", "needs transformers>=5,<6, 4.57.0 is installed"),
        (
            "open_clip_torch",
            None,
            "needs open_clip_torch>=3.3,<4, which is not installed: pip install 'open_clip_torch>=3.3,<4'",
        ),
    ],
)
def test_packages_that_are_lacking_or_old_are_one_line(package, version, message, tmp_path, monkeypatch):
    write(tmp_path / "w", SIGLIP, tokenizer="siglip")
    from importlib import metadata

    real = metadata.version

    def said(name):
        if name != package:
            return real(name)
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", said)
    assert message in refusal(tmp_path / "w")
    monkeypatch.setattr("modprompt.clip.source.find", lambda asked: pytest.fail("downloaded before"))
    assert message in refusal("ViT-B-16-SigLIP2/webli")


# ------------------------------------------------------------ transformers

KINDS = {"siglip": "siglip", "chinese_clip": "xlmr", "altclip": "xlmr", "metaclip_2": "xlmr"}
PROCESSOR = {
    "size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2,
    "do_center_crop": False,
}  # fmt: skip


def transformers_folder(folder, kind, file="model.safetensors"):
    """A golden case as a folder; the case."""
    case = golden_towers.case(f"transformers/{kind}")
    package = other_package("transformers")
    config = {key: value for key, value in case.config.items() if key != "model_type"}
    with torch.random.fork_rng(devices=[]), left_as_found():
        theirs = package.AutoModel.from_config(package.AutoConfig.for_model(kind, **config)).eval()
    state = golden_towers.fill(theirs)
    assert golden_towers.names_of(state) == case.names
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(case.config))
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    write_weights(folder, state, file)
    small_tokenizers.write(folder, KINDS.get(kind, "siglip"))
    return case


@pytest.mark.parametrize("kind", KINDS)
def test_folders_of_transformers_give_its_features(kind, tmp_path):
    case = transformers_folder(tmp_path / "w", kind)
    drawn = torch.get_rng_state()
    ours, _ = load_clip(tmp_path / "w", "cpu")
    assert torch.equal(torch.get_rng_state(), drawn)
    with torch.no_grad():
        image, text = ours.encode_image(case.images), ours.encode_text(case.ids)
    assert float((image - case.image).abs().max() / case.image.abs().max()) < 1e-5
    assert float((text - case.text).abs().max() / case.text.abs().max()) < 1e-5
    assert float(ours.logit_scale.detach().exp()) == pytest.approx(case.scale)
    bias = logit_bias_of(ours)
    assert (0.0 if bias is None else float(bias.detach())) == case.bias
    facts = facts_of(ours)
    assert (facts.dialect, facts.size, facts.resize) == ("transformers", 32, "squash")
    assert facts.tokenizer["length"] == case.ids.shape[1]
    assert not has_stock_text(ours)
    assert not has_stock_image(ours)


def test_ids_that_a_siglips_released_config_leaves_out_are_not_told_as_wrong(tmp_path, capfd):
    transformers_folder(tmp_path / "w", "siglip")
    for key in ("bos_token_id", "eos_token_id"):
        change(tmp_path / "w" / "config.json", f"text_config.{key}", ...)
    capfd.readouterr()
    load_clip(tmp_path / "w", "cpu")
    assert "token_id" not in capfd.readouterr().err


def test_hubs_name_of_transformers_brings_its_tokenizer(tmp_path, hub):
    transformers_folder(tmp_path / "w", "siglip")
    hub("me/siglip", tmp_path / "w")
    found = facts_of(load_clip("hf-hub:me/siglip", "cpu")[0])
    assert found.tokenizer == facts_of(load_clip(tmp_path / "w", "cpu")[0]).tokenizer
    assert (found.commit, found.dialect) == ("a" * 40, "transformers")
    assert load_clip(found.name, "cpu")[0].fingerprint == found.fingerprint


def test_transformers_kinds_that_are_not_run_are_refused_by_name(tmp_path):
    transformers_folder(tmp_path / "w", "siglip")
    for kind in ("siglip2", "align", "blip"):
        change(tmp_path / "w" / "config.json", "model_type", kind)
        assert f"model_type {kind} is not supported (" in refusal(tmp_path / "w")


def test_missing_tensors_of_transformers_are_not_drawn(tmp_path):
    transformers_folder(tmp_path / "w", "siglip", "pytorch_model.bin")
    path = tmp_path / "w" / "pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    name = next(one for one in state if one.startswith("vision_model."))
    torch.save({key: value for key, value in state.items() if key != name}, path)
    assert f"{name} is missing" in refusal(tmp_path / "w")
    torch.save(state, path)
    change(tmp_path / "w" / "config.json", "vision_config.image_size", 64)
    assert "do not fit the model, which needs 64" in refusal(tmp_path / "w")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("text_config.max_position_embeddings", "many", "max_position_embeddings must be a whole number, got many"),
        ("text_config.vocab_size", None, "vocab_size must be a whole number"),
        ("text_config.num_hidden_layers", 10**6, "num_hidden_layers is 1000000: no CLIP has as many"),
        ("text_config.hidden_act", "no_such", "transformers does not build what the config"),
        ("vision_config.patch_size", 0, "transformers does not build|does not accept images"),
        ("vision_config", [], "has no vision_config"),
    ],
)
def test_configs_of_transformers_that_are_damaged_are_one_line(path, value, message, tmp_path):
    transformers_folder(tmp_path / "w", "siglip")
    change(tmp_path / "w" / "config.json", path, value)
    with pytest.raises(UserError, match=message) as raised:
        load_clip(tmp_path / "w", "cpu")
    assert "\n" not in str(raised.value)


def test_types_that_configs_name_change_nothing(tmp_path):
    case = transformers_folder(tmp_path / "w", "altclip")
    change(tmp_path / "w" / "config.json", "dtype", "float16")
    change(tmp_path / "w" / "config.json", "text_config.dtype", "float16")
    ours = load_clip(tmp_path / "w", "cpu")[0]
    assert torch.allclose(ours.encode_text(case.ids), case.text, atol=1e-5)
    write(tmp_path / "b", BIOMED, text=BERT, tokenizer="bert")
    change(tmp_path / "b" / "text_config" / "config.json", "dtype", "float16")
    found = load_clip(tmp_path / "b", "cpu")[0]
    assert {one.dtype for one in found.parameters()} == {torch.float32}


def test_processor_as_transformers_5_saves_it(tmp_path):
    transformers_folder(tmp_path / "w", "siglip")
    (tmp_path / "w" / "preprocessor_config.json").unlink()
    assert "preprocessor_config.json is missing" in refusal(tmp_path / "w")
    (tmp_path / "w" / "processor_config.json").write_text(json.dumps({"image_processor": PROCESSOR}))
    assert facts_of(load_clip(tmp_path / "w", "cpu")[0]).size == 32


@pytest.mark.parametrize(
    ("kind", "size", "resize"),
    [("SiglipImageProcessor", 32, "squash"), ("CLIPImageProcessor", 32, "shortest"),
     ("SiglipImageProcessorFast", {"shortest_edge": 32}, None)],
)  # fmt: skip
def test_a_lone_number_of_pixels_is_what_the_named_processor_makes_of_it(kind, size, resize, tmp_path):
    config = {**PROCESSOR, "image_processor_type": kind, "size": size}
    del config["do_center_crop"]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    if resize is None:
        with pytest.raises(UserError, match="only images that are cut to a square are supported"):
            images_of_folder(tmp_path, 32)
    else:
        assert images_of_folder(tmp_path, 32).resize == resize
