"""Which weights are meant, and who says how they are run: never a guess."""

import json
import shutil

import pytest
import torch

import modprompt
from modprompt.clip import build, known, lookup, open_clips
from modprompt.clip.facts import facts_of
from modprompt.clip.load import architecture_of, images_of, load
from modprompt.clip.read import shape_of
from modprompt.clip.resolve import describes_itself
from modprompt.clip.spec import ClipSpec, Images
from modprompt.errors import UserError
from tests.conftest import RESNET_HEADS, SAID
from tests.other_clips import edit, open_clip_folder, transformers_folder


def refusal(path="", name="", **said):
    with pytest.raises(UserError) as raised:
        load(ClipSpec(name, str(path), **said))
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
    return lambda name: shutil.copytree(folders / name, tmp_path / name)


def test_file_of_other_bytes_is_no_file_of_weights(tmp_path):
    for name in ("random.pt", "other.bin", "some.safetensors"):
        for content in (bytes(range(7, 100)), b"", b"<!DOCTYPE html><html>a page</html>"):
            (tmp_path / name).write_bytes(content)
            assert str(tmp_path / name) in refusal(tmp_path / name, activation="gelu", heads=(1, 2))
            assert "are unknown, because the file has no config" in refusal(tmp_path / name)


def test_bare_state_dict_is_refused_with_the_options_that_settle_it(clip_file):
    assert refusal(clip_file).startswith(f"The activation and the attention heads of {clip_file} are unknown")
    for half in ({"activation": "gelu"}, {"heads": (1, 2)}):
        assert (
            "need additional settings. Set either both MODEL.BACKBONE.ACTIVATION and MODEL.BACKBONE.HEADS"
            in refusal(clip_file, **half)
        )
    model = load(ClipSpec(path=str(clip_file), activation="gelu", heads=(2, 4)))
    facts = facts_of(model)
    assert (facts.activation, facts.heads, facts.dialect) == ("gelu", (2, 4), "bare")
    assert (facts.file, facts.name, facts.sha256) == (clip_file.name, "", "")
    assert not describes_itself(str(clip_file))


def test_images_of_bare_weights_are_openais_in_the_size_that_they_have(clip_file, resnet_file):
    assert images_of(ClipSpec("", str(clip_file), "gelu", (1, 2))) == Images(32, stated=False)
    assert images_of(ClipSpec("", str(resnet_file), "quick_gelu", RESNET_HEADS)) == Images(64, stated=False)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"activation": "relu", "heads": (1, 2)}, "MODEL.BACKBONE.ACTIVATION must be quick_gelu or gelu, got 'relu'"),
        ({"activation": "gelu", "heads": (1,)}, "MODEL.BACKBONE.HEADS must be two whole numbers (text encoder, image"),
        ({"activation": "gelu", "heads": (1, 2.0)}, "MODEL.BACKBONE.HEADS must be two whole numbers"),
        ({"activation": "gelu", "heads": (0, 2)}, "MODEL.BACKBONE.HEADS must be two whole numbers"),
        (
            {"activation": "gelu", "heads": (1, 3)},
            "HEADS (1, 3) does not fit this model, because its width 128 is not divisible by 3",
        ),
    ],
)
def test_options_that_no_weights_can_have(clip_file, said, message):
    assert message in refusal(clip_file, **said)


def test_options_for_what_says_it_itself(folders):
    for name in ("open_clip", "transformers"):
        for said in ({"activation": "gelu"}, {"heads": (2, 2)}, {"model": "ViT-B-16"}):
            assert "config.json describes these weights" in refusal(folders / name, **said)
    assert "ViT-B/16 describes these weights" in refusal(name="ViT-B/16", activation="gelu", heads=(2, 2))


def test_openais_archive_is_known_by_its_hash_and_no_other_runs(tmp_path, monkeypatch):
    """A TorchScript archive can hold code: it is opened only if it is one of OpenAI's."""
    from modprompt.io.files import sha256_of
    from tests.conftest import published, random_clip

    module = torch.nn.Module()
    for name, value in published(random_clip(1, text_layers=1, vision_layers=1)).items():
        module.register_buffer(name.replace(".", "_"), value)
    torch.jit.script(module).save(str(tmp_path / "any.pt"))
    assert "are unknown, because the file has no config" in refusal(tmp_path / "any.pt")
    assert "any.pt" in refusal(tmp_path / "any.pt", **SAID)
    row = known.OpenAIs(sha256_of(tmp_path / "any.pt"), 32, (1, 1))
    monkeypatch.setitem(known.OPENAI, "ViT-B/1", row)
    assert images_of(ClipSpec(path=str(tmp_path / "any.pt"))).size == 32
    assert "do not form a CLIP model" in refusal(tmp_path / "any.pt")  # read, and of other names


OPEN_CLIP, CONFIG, IMAGES = "open_clip_config.json", "config.json", "preprocessor_config.json"


@pytest.mark.parametrize(
    ("file", "keys", "value", "message"),
    [
        (OPEN_CLIP, ("model_cfg", "text_cfg", "layers"), 3, "resblocks.2"),
        (OPEN_CLIP, ("model_cfg", "vision_cfg", "width"), 256, "size mismatch for visual."),
        (CONFIG, ("text_config", "num_hidden_layers"), 3, "resblocks.2"),
        (
            CONFIG,
            ("vision_config", "hidden_act"),
            "quick_gelu",
            "must have the same hidden_act (quick_gelu or gelu) and {'layer_norm_eps': 1e-05}.",
        ),
        (
            CONFIG,
            ("text_config", "layer_norm_eps"),
            1e-6,
            "the text encoder has {'hidden_act': 'gelu', 'layer_norm_eps': 1e-06} and",
        ),
        (CONFIG, ("text_config", "hidden_size"), "many", "hidden_size must be a whole number"),
        (CONFIG, ("vision_config",), [], "vision_config must be a JSON object"),
        (CONFIG, ("model_type",), "siglip", "In the format of transformers, only the model_type clip is supported"),
        (
            IMAGES,
            ("crop_size",),
            {"height": 64, "width": 64},
            "but the preprocessing has the sizes [32, 64, 64] and do_center_crop True.",
        ),
        (IMAGES, ("resample",), 0, "resample 0 is not supported"),
        (IMAGES, ("do_normalize",), False, "do_normalize False is not supported"),
    ],
)
def test_config_that_contradicts_the_tensors_or_says_what_is_not_run(copy, file, keys, value, message):
    name = "open_clip" if file == OPEN_CLIP else "transformers"
    path = copy(name)
    edit(path / file, *keys, value=value)
    assert message in refusal(path)


def test_older_config_dict_decides_and_must_agree(copy):
    path = copy("transformers") / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "text_config_dict": {"num_attention_heads": 4}}))
    assert "text_config and text_config_dict have different values for num_attention_heads" in refusal(path.parent)


def test_what_lies_in_a_folder_decides(copy, folders, tmp_path):
    path = copy("transformers")
    one = load(ClipSpec(path=str(path))).fingerprint
    assert load(ClipSpec(path=str(path / "model.safetensors"))).fingerprint == one
    (path / "preprocessor_config.json").rename(path / "processor_config.json")
    edit(
        path / "processor_config.json",
        "image_processor",
        value=json.loads((path / "processor_config.json").read_text()),
    )
    assert load(ClipSpec(path=str(path))).fingerprint == one
    (path / "processor_config.json").unlink()
    assert "preprocessor_config.json is missing" in refusal(path)
    for file in (folders / "open_clip").iterdir():
        shutil.copy(file, path)
    assert facts_of(load(ClipSpec(path=str(path)))).dialect == "open_clip"  # the package's own comes first
    (tmp_path / "empty").mkdir()
    assert "must contain exactly one file of weights" in refusal(tmp_path / "empty")
    for other in ("one.pt", "two.pt"):
        (tmp_path / "empty" / other).touch()
    assert "but contains one.pt, two.pt." in refusal(tmp_path / "empty")
    assert "do not exist. Check the path." in refusal(tmp_path / "nothing")
    assert "To name a CLIP model, set --backbone" in refusal("ViT-B/16")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((3,), "Unknown CLIP model '3'"), (("",), "No CLIP model is specified"), (("x.pt", "cpu", "gelu"), None)],
)
def test_arguments_that_are_none_in_python(arguments, message):
    with pytest.raises(TypeError if message is None else UserError, match=message or "positional"):
        modprompt.load_clip(*arguments)
    with pytest.raises(UserError, match="HEADS must be two whole numbers"):
        modprompt.load_clip("x.pt", heads="12")


def test_registered_name_wins_over_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("glyph-clip", "ViT-B-16/laion2b_s34b_b88k", "ViT-B-16/mine"):
        (tmp_path / name).mkdir(parents=True)
    assert [lookup.named(name).path for name in ("glyph-clip", "ViT-B-16/laion2b_s34b_b88k")] == ["", ""]
    assert lookup.require("ViT-B-16/laion2b_s34b_b88k").name == "ViT-B-16/laion2b_s34b_b88k"
    assert lookup.named("ViT-B-16/mine").path == "ViT-B-16/mine"
    with pytest.raises(
        UserError, match="ViT-B-16/mine is a file or folder, not the name of a CLIP model. Set MODEL.BACKBONE.PATH"
    ):
        lookup.require("ViT-B-16/mine")


@pytest.mark.parametrize("name", known.OPENAI)
def test_architecture_of_openai_is_that_of_open_clip(name):
    row, model = architecture_of(name), name.replace("/", "-").replace("@336px", "-336")
    config = open_clips.model_config(f"{model}-quickgelu", "")
    text, image = config["text_cfg"], config["vision_cfg"]
    is_resnet = isinstance(image["layers"], list)
    assert row.activation == "quick_gelu"
    assert row.shape.pixels == image["image_size"]
    assert row.shape.widths == (text["width"], image["width"])
    assert (row.shape.patch, row.shape.layers) == (
        (0, (12, 0)) if is_resnet else (image["patch_size"], (12, image["layers"]))
    )
    assert row.shape.joint == config["embed_dim"]
    assert row.heads == (text["heads"], image["width"] // 2 if is_resnet else image["width"] // 64)


def test_architecture_of_other_designs_is_open_clips_to_build():
    assert architecture_of("ViT-B-16-SigLIP2/webli") is None
    assert architecture_of("ViT-B-16/laion2b_s34b_b88k").activation == "gelu"
    with pytest.raises(
        UserError, match="hf-hub:a/b is a repository of the Hugging Face hub, and its architecture is not known"
    ):
        architecture_of("hf-hub:a/b")


def test_shape_of_built_clips_is_read_from_their_tensors(clip_model):
    shape = shape_of(clip_model.state_dict(), "")
    assert shape.pixels == clip_model.visual.input_resolution
    assert shape.layers == build.layers_of(clip_model)
