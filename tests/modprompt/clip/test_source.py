"""Which weights are meant, and who says how they are run: never a guess."""

import json
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

import modprompt
from modprompt.clip import build, hub, known, source
from modprompt.clip.design import Design, Images
from modprompt.clip.facts import facts_of
from modprompt.clip.reading import describe, images_of
from modprompt.clip.source import Asked
from modprompt.errors import UserError
from modprompt.io.text import sha256_of
from tests.conftest import RESNET_HEADS, SAID, random_clip
from tests.other_clips import edit, open_clip_folder, transformers_folder

COMMIT = "0123456789" * 4


def load(path="", name="", **said):
    return build.load_clip(name, str(path), **said)


def refusal(*args, **kwargs):
    with pytest.raises(UserError) as raised:
        load(*args, **kwargs)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A small random CLIP of each package."""
    folder = tmp_path_factory.mktemp("folders")
    open_clip_folder(folder / "open_clip", quick_gelu=False, images={"mean": [0.5, 0.5, 0.5]})
    transformers_folder(folder / "transformers", act="gelu")
    return folder


@pytest.fixture
def copy(folders, tmp_path):
    """A folder of one of them, to be changed."""

    def make(name):
        (tmp_path / name).mkdir()
        for file in (folders / name).iterdir():
            os.link(file, tmp_path / name / file.name)
        return tmp_path / name

    return make


def replace(path, text):
    path.unlink()  # it is a link to another test's
    path.write_text(text)


def tiny_row(name="ViT-B-16/tiny", repo="owner/tiny", sha256="", file="", activation="gelu", **images):
    """A row of a small model in the table of known CLIPs."""
    said = {"text layers": 2, "text width": 128, "embed": 48, "image layers": 2, "image width": 128, "patch": 16}
    design = Design(activation, (2, 2), Images(32, **images), said)
    dialect = "openai" if sha256 else "open_clip"
    return known.Row(name, dialect, repo, (128, 128), design, sha256, file)


@pytest.fixture
def add_row(monkeypatch):
    """Put a row into the table of known CLIPs."""

    def add(row):
        rows = (*known.rows(), row)
        monkeypatch.setattr(known, "rows", lambda: rows)
        find = known.find
        monkeypatch.setattr(known, "find", lambda name: row if name == row.name else find(name))
        monkeypatch.setattr(known, "by_repository", lambda repo: row if repo == row.source else None)
        return row

    return add


# ---------------------------------------------------------------------- who says how weights are run


@pytest.mark.parametrize("name", ["random.pt", "other.bin", "some.safetensors"])
def test_file_of_other_bytes_is_no_file_of_weights(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(range(7, 100)))
    assert refusal(tmp_path / name).startswith(f"{tmp_path / name} is not a file of weights: ")
    (tmp_path / name).write_bytes(b"")
    assert refusal(tmp_path / name).startswith(f"{tmp_path / name} is not a file of weights: ")


def test_bare_state_dict_is_refused_with_the_options_that_settle_it(clip_file):
    text = refusal(clip_file)
    assert text.startswith(
        f"{clip_file} does not say how it is run: give MODEL.BACKBONE.ACTIVATION (quick_gelu or gelu)"
    )
    assert "MODEL.BACKBONE.HEADS" in text
    for half in ({"activation": "gelu"}, {"heads": (1, 2)}):
        given = "ACTIVATION" if half.get("activation") else "HEADS"
        assert f"MODEL.BACKBONE.{given} is given, but MODEL.BACKBONE." in refusal(clip_file, **half)
    model = load(clip_file, activation="gelu", heads=(2, 4))
    facts = facts_of(model)
    assert (facts.activation, facts.heads, facts.dialect) == ("gelu", (2, 4), "bare")
    assert (facts.file, facts.name, facts.sha256) == (clip_file.name, "", sha256_of(clip_file))


def test_images_of_bare_weights_are_openais_in_the_size_that_they_have(clip_file, resnet_file):
    assert images_of(Asked("", str(clip_file), "gelu", (1, 2))) == Images(32, stated=False)
    assert images_of(Asked("", str(resnet_file), "quick_gelu", RESNET_HEADS)) == Images(64, stated=False)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"activation": "relu", "heads": (1, 2)}, "MODEL.BACKBONE.ACTIVATION must be quick_gelu or gelu, got 'relu'"),
        (
            {"activation": "gelu", "heads": (1,)},
            "MODEL.BACKBONE.HEADS must be two whole numbers, (text side, image side)",
        ),
        ({"activation": "gelu", "heads": (1, 2.0)}, "MODEL.BACKBONE.HEADS must be two whole numbers"),
        ({"activation": "gelu", "heads": (0, 2)}, "MODEL.BACKBONE.HEADS must be two whole numbers"),
        ({"activation": "gelu", "heads": (1, 3)}, "3 heads do not divide the image side's width, 128"),
        ({"activation": "gelu", "heads": (5, 2)}, "5 heads do not divide the text side's width, 64"),
    ],
)
def test_options_that_no_weights_can_have(clip_file, said, message):
    assert message in refusal(clip_file, **said)


def test_options_that_contradict_what_is_known(folders):
    path = folders / "open_clip"
    assert "MODEL.BACKBONE.ACTIVATION is quick_gelu, but by" in refusal(path, activation="quick_gelu", heads=(2, 2))
    assert "open_clip_config.json it is gelu" in refusal(path, activation="quick_gelu", heads=(2, 2))
    assert "MODEL.BACKBONE.HEADS is (1, 1), but by" in refusal(path, activation="gelu", heads=(1, 1))
    load(path, activation="gelu", heads=(2, 2))
    assert "ViT-B/16 already says it" in refusal(name="ViT-B/16", activation="gelu", heads=(2, 2))


def test_openais_file_is_known_by_its_hash(tmp_path, add_row):
    torch.save(random_clip(text_layers=1, vision_layers=1).state_dict(), tmp_path / "any.pt")
    row = tiny_row("ViT-B/1", "OpenAI", sha256_of(tmp_path / "any.pt"), "ViT-B-1.pt", "quick_gelu")
    add_row(row._replace(design=Design("quick_gelu", (1, 2), Images(32))))
    assert facts_of(load(tmp_path / "any.pt")).activation == "quick_gelu"
    assert "by its SHA-256, which is that of OpenAI's ViT-B/1 it is quick_gelu" in refusal(
        tmp_path / "any.pt", activation="gelu", heads=(1, 2)
    )
    torch.save(random_clip(1, text_layers=1, vision_layers=1).state_dict(), tmp_path / "ViT-B-1.pt")
    assert "ViT-B-1.pt has the name of OpenAI's weights, but its SHA-256 is not theirs, and does not" in refusal(
        tmp_path / "ViT-B-1.pt"
    )
    load(tmp_path / "ViT-B-1.pt", **SAID)


def test_openais_file_is_run_as_its_hash_says_whatever_config_lies_beside_it(tmp_path, add_row, folders):
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        os.link(folders / "open_clip" / name, tmp_path / name)
    state = random_clip(text_layers=1, vision_layers=1).state_dict()
    torch.save(state, tmp_path / "ViT-B-1.pt")
    row = tiny_row("ViT-B/1", "OpenAI", sha256_of(tmp_path / "ViT-B-1.pt"), "ViT-B-1.pt", "quick_gelu")
    add_row(row._replace(design=Design("quick_gelu", (1, 2), Images(32))))
    assert facts_of(load(tmp_path / "ViT-B-1.pt")).activation == "quick_gelu"


def test_config_that_contradicts_the_tensors(copy):
    path = copy("open_clip")
    config = path / "open_clip_config.json"
    whole = config.read_text()
    for keys, value, message in (
        (("text_cfg", "layers"), 3, "text layers is 3, in the weights 2"),
        (("vision_cfg", "mlp_ratio"), 2.0, "image hidden is 256, in the weights 512"),
        (("vision_cfg", "image_size"), 64, "pixels is 64, in the weights 32"),
        (("embed_dim",), 32, "embed is 32, in the weights 48"),
        (("text_cfg", "heads"), 3, "3 heads do not divide the text side's width, 128"),
    ):
        replace(config, whole)
        edit(config, "model_cfg", *keys, value=value)
        assert message in refusal(path)


def test_config_of_the_other_package_alone_says_nothing(copy, folders):
    path = copy("open_clip")
    (path / "open_clip_config.json").unlink()
    for name in ("config.json", "preprocessor_config.json"):
        os.link(folders / "transformers" / name, path / name)
    assert "does not say how it is run: config.json in its folder is the other package's" in refusal(path)
    load(path, activation="gelu", heads=(2, 2))


def test_images_file_that_is_missing_is_named(copy):
    path = copy("transformers")
    (path / "preprocessor_config.json").unlink()
    assert "preprocessor_config.json is missing" in refusal(path)


# ---------------------------------------------------------------------- files and folders


def test_folder_and_file_in_it_are_the_same_clip(folders):
    one, other = load(folders / "open_clip"), load(folders / "open_clip" / "open_clip_model.safetensors")
    assert one.fingerprint == other.fingerprint
    assert facts_of(one).dialect == "open_clip"
    assert facts_of(load(folders / "transformers")).dialect == "transformers"


def test_folder_with_both_packages_files_gives_open_clips(copy, folders):
    path = copy("open_clip")
    for file in (folders / "transformers").iterdir():
        os.link(file, path / file.name)
    assert load(path).fingerprint == load(folders / "open_clip").fingerprint


def test_folder_must_hold_one_file_of_weights(tmp_path):
    assert "must hold one file of weights" in refusal(tmp_path)
    for name in ("a.pt", "b.bin"):
        torch.save({}, tmp_path / name)
    assert "there is: a.pt, b.bin" in refusal(tmp_path)


def test_folder_of_the_hubs_cache(folders, tmp_path):
    repo = tmp_path / "models--owner--name"
    (repo / "snapshots").mkdir(parents=True)
    (repo / "snapshots" / COMMIT).symlink_to(folders / "open_clip")
    model = load(repo)
    assert facts_of(model).commit == COMMIT
    (repo / "snapshots" / "another").mkdir()
    assert "holds 2 snapshots and none is main: give the folder of one" in refusal(repo)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    assert load(repo).fingerprint == model.fingerprint


def test_shard_that_is_missing(tmp_path):
    open_clip_folder(tmp_path / "sharded", file="open_clip_pytorch_model.bin.index.json")
    load(tmp_path / "sharded")
    shard = sorted((tmp_path / "sharded").glob("*-of-*"))[1]
    shard.unlink()
    assert f"{shard.name} is missing next to" in refusal(tmp_path / "sharded")
    index = tmp_path / "sharded" / "open_clip_pytorch_model.bin.index.json"
    content = json.loads(index.read_text())
    first = next(iter(content["weight_map"]))
    edit(index, "weight_map", first, value="../outside.bin")
    assert "which is not the name of a .safetensors or .bin file next to it" in refusal(tmp_path / "sharded")


def test_pickle_that_asks_for_more_than_tensors(copy):
    path = copy("open_clip")
    (path / "open_clip_model.safetensors").unlink()

    class Evil:
        def __reduce__(self):
            return os.system, ("touch evil",)

    torch.save({"positional_embedding": Evil()}, path / "open_clip_pytorch_model.bin", pickle_module=pickle)
    assert "is not a whole PyTorch checkpoint" in refusal(path)
    assert not (path / "evil").exists()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("logit_bias", "SigLIP"),
        ("vision_model.head.probe", "SigLIP"),
        ("visual.trunk.blocks.0.attn.qkv.weight", "image tower of timm"),
        ("visual.blocks.0.attn.q_bias", "EVA"),
        ("text_decoder.resblocks.0.ln_1.weight", "CoCa"),
        ("text.transformer.embeddings.word_embeddings.weight", "BERT"),
        ("text_model.embeddings.word_embeddings.weight", "BERT"),
        ("model.layers.0.weight", "is not the state dict of a CLIP: it has no positional_embedding"),
    ],
)
def test_other_models_are_refused_as_what_they_are(tmp_path, name, kind):
    save_file({name: torch.zeros(2), "logit_scale": torch.zeros(1)}, tmp_path / "w.safetensors")
    text = refusal(tmp_path / "w.safetensors", **SAID)
    assert kind in text
    assert "it has" in text


def test_tensors_that_a_dialect_does_not_have(copy, folders):
    from safetensors.torch import load_file

    path = copy("transformers") / "model.safetensors"
    state = load_file(str(folders / "transformers" / "model.safetensors"))
    path.unlink()
    save_file({**state, "text_model.encoder.layers.0.mlp.gate.weight": torch.zeros(1)}, path)
    assert "a tensor that no CLIP of transformers has: text_model.encoder.layers.0.mlp.gate.weight" in refusal(path)
    path.unlink()
    save_file({**state, "text_projection.weight": torch.zeros(2, 2, 2)}, path)
    assert "its projections are not matrices" in refusal(path)
    del state["vision_model.encoder.layers.1.self_attn.k_proj.bias"]
    path.unlink()
    save_file(state, path)
    assert "self_attn.k_proj of visual.transformer.resblocks.1.attn.in_proj_bias is missing" in refusal(path)


# ---------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B16", "did you mean 'ViT-B/16'"),
        ("ViT-B-16/laion2b_s34b_b88", "did you mean 'ViT-B-16/laion2b_s34b_b88k'"),
        ("ViT-B-16/laion2b", "'ViT-B-16/laion2b_s34b_b88k'"),
        ("ViT-B-16-quickgelu/dfn2", "did you mean 'ViT-B-16/dfn2b'"),
        ("nothing at all", "`modprompt backbones` lists all that are known"),
        ("ViT-B-16-SigLIP/web", "did you mean 'ViT-B-16-SigLIP/webli'"),
        ("hf-hub:nothing", "is not a repository of a hub"),
    ],
)
def test_names_that_do_not_run(name, message):
    assert message in refusal(name=name)


@pytest.fixture
def cached(tmp_path, monkeypatch, folders):
    """Lay a folder into the cache of a hub as a repository; the network is forbidden."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def lay(repo, name, commit=COMMIT):
        place = tmp_path / "cache" / ("models--" + repo.replace("/", "--"))
        (place / "snapshots").mkdir(parents=True, exist_ok=True)
        (place / "refs").mkdir(exist_ok=True)
        (place / "snapshots" / commit).symlink_to(folders / name)
        (place / "refs" / "main").write_text(commit)

    return lay


@pytest.mark.parametrize("name", ["open_clip", "transformers"])
def test_name_of_a_hub_gives_the_commit_that_was_used(cached, folders, name):
    cached("owner/name", name)
    facts = facts_of(load(name="hf-hub:owner/name"))
    assert (facts.name, facts.commit, facts.file) == (f"hf-hub:owner/name@{COMMIT}", COMMIT, "")
    assert facts.fingerprint == facts_of(load(folders / name)).fingerprint
    assert facts.dialect == name
    assert facts_of(load(name=facts.name)).fingerprint == facts.fingerprint
    assert modprompt.load_clip(facts.name, "cpu")[0].fingerprint == facts.fingerprint


def test_without_a_network_the_way_out_is_said(cached):
    text = refusal(name="hf-hub:owner/other")
    assert "HF_HUB_OFFLINE forbids the network" in text
    assert "MODEL.BACKBONE.PATH" in text
    assert "hf-hub:laion/CLIP-ViT-B-16-laion2B-s34B-b88K" in refusal(name="ViT-B-16/laion2b_s34b_b88k")


def test_tag_is_run_as_the_table_says(cached, add_row, folders):
    """Also where the config in its repository says otherwise; no config is even looked at."""
    add_row(tiny_row(activation="quick_gelu"))
    cached("owner/tiny", "open_clip")
    facts = facts_of(load(name="ViT-B-16/tiny"))
    assert (facts.name, facts.activation, facts.commit, facts.dialect) == (
        "ViT-B-16/tiny", "quick_gelu", COMMIT, "open_clip",
    )  # fmt: skip
    assert facts_of(load(name=f"ViT-B-16/tiny@{COMMIT}")).fingerprint == facts.fingerprint
    assert known.repository(f"ViT-B-16/tiny@{COMMIT}") == ("owner/tiny", COMMIT)


def test_repository_of_known_weights_is_run_as_they_were_trained(cached, add_row):
    add_row(tiny_row(activation="quick_gelu", mean=(0.5, 0.5, 0.5)))
    cached("owner/tiny", "open_clip")
    with pytest.warns(UserWarning, match="open_clip_config.json has the activation gelu, not quick_gelu, with which"):
        model = load(name="hf-hub:owner/tiny")
    assert facts_of(model).activation == "quick_gelu"


def test_cache_of_known_weights_that_is_given_as_a_folder_is_run_as_they_were_trained(cached, add_row, tmp_path):
    add_row(tiny_row(activation="quick_gelu", mean=(0.5, 0.5, 0.5)))
    cached("owner/tiny", "open_clip")
    place = tmp_path / "cache" / "models--owner--tiny"
    snapshot = place / "snapshots" / COMMIT
    for path in (place, snapshot, snapshot / "open_clip_model.safetensors"):
        with pytest.warns(UserWarning, match="has the activation gelu, not quick_gelu, with which ViT-B-16/tiny was"):
            facts = facts_of(load(path))
        assert (facts.activation, facts.commit, facts.name) == ("quick_gelu", COMMIT, "")


def test_repository_of_known_weights_whose_config_agrees_is_silent(cached, add_row):
    add_row(tiny_row(mean=(0.5, 0.5, 0.5)))
    cached("owner/tiny", "open_clip")
    assert facts_of(load(name="hf-hub:owner/tiny")).mean == (0.5, 0.5, 0.5)


def test_tag_whose_weights_have_another_shape_is_refused(cached, add_row):
    row = tiny_row()
    add_row(row._replace(design=row.design._replace(said={**row.design.said, "patch": 32})))
    cached("owner/tiny", "open_clip")
    assert "the table of known CLIPs does not belong to ViT-B-16/tiny: patch is 32, in the weights 16" in refusal(
        name="ViT-B-16/tiny"
    )


def test_what_a_repository_must_have():
    def choose(there):
        return source._wanted(there, "owner/name")

    images = "preprocessor_config.json"  # asked for even where only the cache is known, which may lack it
    both = ["config.json", "model.safetensors", "open_clip_config.json", "open_clip_model.safetensors", "vocab.json"]
    assert choose(both) == ["open_clip_model.safetensors", "open_clip_config.json", "config.json"]
    assert choose(["open_clip_model.safetensors"]) == ["open_clip_model.safetensors", "open_clip_config.json"]
    assert choose(["odd.safetensors", "config.json", images]) == ["odd.safetensors", "config.json", images]
    assert choose(both[:2]) == ["model.safetensors", "config.json", images]
    assert "tokenizer_config.json" in choose([*both[:2], "tokenizer_config.json"])
    sharded = ["config.json", "pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin"]
    assert choose(sharded)[0] == "pytorch_model.bin.index.json"
    with pytest.raises(UserError, match="owner/name must hold one file of weights"):
        choose(["README.md"])
    assert hub.parse("hf-hub:owner/name@v1") == ("owner/name", "v1")


def test_what_is_no_weights_is_told(folders, tmp_path):
    assert "is a config, not weights: give the folder" in refusal(folders / "open_clip" / "open_clip_config.json")
    os.link(folders / "open_clip" / "open_clip_model.safetensors", tmp_path / "w.pt")
    assert "is a safetensors file: give it a name that ends in .safetensors" in refusal(tmp_path / "w.pt", **SAID)
    assert "ViT-B/16 is a name: give it with --backbone" in refusal("ViT-B/16")
    assert "hf-hub:a/b is a name: give it with --backbone" in refusal("hf-hub:a/b")
    assert f"{folders} is a file or folder: give it as MODEL.BACKBONE.PATH" in refusal(name=str(folders))
    assert "no file or folder at /nowhere/clip" in refusal("/nowhere/clip")
    assert "hub's repository is hf-hub:owner/name" in refusal(name="https://huggingface.co/owner/name")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((None,), {}), "name must be a CLIP's name, or the path of a file or folder, got None"),
        ((("",), {}), "name must be a CLIP's name"),
        ((("/nowhere/clip",), {}), "no file or folder at /nowhere/clip"),
        ((("w.pt",), {"heads": 2}), "heads must be two whole numbers, .text side, image side., got 2"),
        ((("w.pt",), {"heads": "(2, 2)"}), "heads must be two whole numbers"),
        ((("a" * 300 + "/" + "b" * 300 + ".pt",), {}), "cannot read|no file or folder"),
    ],
)
def test_arguments_that_are_none_in_python(arguments, message):
    words, keywords = arguments
    with pytest.raises(UserError, match=message):
        modprompt.load_clip(*words, device="cpu", **keywords)


def test_a_repository_without_images_config_says_where_it_comes_from(copy):
    path = copy("transformers")
    (path / "preprocessor_config.json").unlink()
    assert "it says how images are made; copy it from where the weights come from" in refusal(path)


def test_description_holds_the_config_against_the_tensors(copy, folders):
    line = describe(Asked("", str(folders / "open_clip")))
    assert "open_clip weights, gelu, 2 and 2 heads (text, image), 32 pixels, by" in line
    assert "transformers weights, gelu" in describe(Asked("", str(folders / "transformers")))
    assert "glyph-clip, which ships with the package" in describe(Asked("glyph-clip"))
    path = copy("open_clip")
    whole = (path / "open_clip_config.json").read_text()
    replace(path / "open_clip_config.json", whole.replace('"layers": 2', '"layers": 3'))
    with pytest.raises(UserError, match="layers is 3, in the weights 2"):
        describe(Asked("", str(path)))
