import re
import urllib.error

import pytest
import torch

from modprompt.clip import build as backbone
from modprompt.clip import draws
from modprompt.clip.facts import facts_of, fingerprint
from modprompt.clip.load import load
from modprompt.clip.package import import_clip
from modprompt.clip.spec import ClipSpec
from modprompt.errors import UserError
from modprompt.io.tensors import read_tensors
from tests.conftest import RESNET_HEADS, SAID, one_line, random_clip


def test_state_dict_on_disk_becomes_a_stock_model(clip_file):
    model = load(ClipSpec("ViT-B/16", str(clip_file), **SAID))
    assert type(model).__module__ == "clip.model"
    assert model.dtype == torch.float32
    saved = read_tensors(clip_file)
    assert torch.equal(model.visual.conv1.weight, saved["visual.conv1.weight"])
    assert "input_resolution" not in model.state_dict()


def test_building_draws_as_clips_constructor_does(clip_file):
    """Seed parity: the constructor's draws are part of the stream."""
    state = read_tensors(clip_file)
    torch.manual_seed(3)
    backbone.build_clip(state)
    after = torch.rand(1)
    torch.manual_seed(3)
    import_clip().build_model(dict(state))
    assert torch.rand(1) == after


def test_draws_inside_the_constructor_stand_where_its_own_are(clip_file, monkeypatch):
    """Those of prompts behind the patch embedding and behind blocks, and what comes after the constructor."""
    model, stops = load(ClipSpec("", str(clip_file), **SAID)), []
    torch.manual_seed(3)
    vision, text = draws.draw_prompts_inside(model, (2, 3), (4, 2))
    after = torch.rand(1)

    def hooked(kind):
        plain = kind.__init__

        def made(self, *args, **named):
            plain(self, *args, **named)
            stops.append(torch.get_rng_state())
            place = len(stops) - 1  # the patch embedding, four layers, four layers
            if place in (0, 2, 3):
                torch.randn(2, 128)
            if place == 6:
                torch.randn(4, 64)

        monkeypatch.setattr(kind, "__init__", made)

    hooked(torch.nn.Conv2d)
    hooked(type(model.transformer.resblocks[0]))
    torch.manual_seed(3)
    draws.draw_constructor(model)
    assert torch.rand(1) == after
    for place, drawn in ((0, vision[0]), (2, vision[1]), (3, vision[2]), (6, text[1])):
        torch.set_rng_state(stops[place])
        assert torch.equal(torch.nn.init.normal_(torch.empty(drawn.shape), std=0.02), drawn)
    assert (list(vision), list(text)) == ([0, 1, 2], [1])


def test_weights_that_cannot_be_had_say_where_and_what_to_do(monkeypatch):
    def refuse(url, root):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(import_clip(), "_download", refuse)
    with pytest.raises(UserError, match=r"ViT-B-16.pt, and the download failed.*MODEL.BACKBONE.PATH"):
        load(ClipSpec("ViT-B/16"))


@pytest.mark.parametrize(("activation", "heads"), [("gelu", RESNET_HEADS), ("quick_gelu", (1, 8))])
def test_resnet_that_is_run_otherwise_draws_nothing(activation, heads, resnet_file):
    drawn = torch.get_rng_state()
    model = load(ClipSpec("", str(resnet_file), activation, heads))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert model.visual.attnpool.num_heads == heads[1]
    assert model.encode_image(torch.zeros(1, 3, 64, 64)).shape == (1, model.text_projection.shape[1])


def small_state(**changes):
    return {**random_clip(text_layers=1, vision_layers=1).state_dict(), **changes}


def test_weights_stay_in_the_type_that_they_were_saved_in():
    """PREC decides; the `clip` package rounds all matrices to half."""
    state = small_state()
    model = backbone.build_clip(state)
    assert model.dtype == torch.float32
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    whole_half = {name: value.half() for name, value in state.items()}
    model = backbone.build_clip(whole_half)
    assert model.dtype == model.text_projection.dtype == model.visual.proj.dtype == torch.float16
    assert model.ln_final.weight.dtype == model.token_embedding.weight.dtype == torch.float32


def test_bfloat16_file_is_loaded_as_the_same_numbers_in_float32(tmp_path):
    short = {name: value.bfloat16() for name, value in small_state().items()}
    wide = {name: value.float() for name, value in short.items()}
    for name, state in (("short.pt", short), ("wide.pt", wide)):
        torch.save(state, tmp_path / name)
    for activation in ("quick_gelu", "gelu"):
        one, other = (load(ClipSpec("", str(tmp_path / f), activation, (1, 2))) for f in ("short.pt", "wide.pt"))
        assert one.fingerprint == other.fingerprint
        assert all(torch.equal(value, wide[name]) for name, value in one.state_dict().items())
        assert one.dtype == torch.float32


@pytest.fixture
def loaded(tmp_path):
    """Load a small CLIP, with an activation and heads, from a file."""
    torch.save(small_state(), tmp_path / "clip.pt")
    return lambda *said: load(ClipSpec("", str(tmp_path / "clip.pt"), *said))


@pytest.mark.parametrize("said", [("gelu", (1, 2)), ("quick_gelu", (2, 4)), ("gelu", (4, 1))])
def test_what_is_run_otherwise_than_the_clip_package_does_draws_nothing(said, loaded):
    before = torch.get_rng_state()
    model = loaded(*said)
    assert torch.equal(torch.get_rng_state(), before)
    draws.draw_constructor(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert (facts_of(model).activation, facts_of(model).heads) == said
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == {
        name: tuple(value.shape) for name, value in small_state().items()
    }
    assert not model.training


def test_fingerprint_tells_how_weights_are_run(loaded):
    ways = [("quick_gelu", (1, 2)), ("gelu", (1, 2)), ("gelu", (2, 2)), ("quick_gelu", (2, 2))]
    models = [loaded(*said) for said in ways]
    assert len({model.fingerprint for model in models}) == len(ways)
    assert [fingerprint(model.state_dict(), model) for model in models] == [model.fingerprint for model in models]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"something": torch.zeros(1)}, "something"),
        ({"visual.ln_post.weight": torch.zeros(3)}, "visual.ln_post.weight"),
        ({"ln_final.weight": "text"}, "ln_final.weight is not a dense tensor of a supported type"),
        (
            {"ln_final.weight": torch.zeros(64, dtype=torch.float64)},
            "ln_final.weight is not a dense tensor of a supported type",
        ),
        ({"text_projection": torch.zeros(3)}, "do not form a CLIP model"),
        ({"token_embedding.weight": torch.zeros(100, 64)}, "vocab_size is 100 in the weights, but 49408 in the config"),
        ({"transformer.resblocks.2.ln_1.weight": torch.zeros(64)}, "resblocks"),
    ],
)
def test_tensors_that_are_no_clip_are_named(changes, message, tmp_path):
    torch.save(small_state(**changes), tmp_path / "clip.pt")
    with one_line(re.escape(message)):
        load(ClipSpec("", str(tmp_path / "clip.pt"), **SAID))


def test_tensor_that_is_lacking_is_one_line(tmp_path):
    for name in ("visual.ln_post.weight", "visual.proj", "logit_scale", "positional_embedding"):
        state = small_state()
        del state[name]
        torch.save(state, tmp_path / "clip.pt")
        with one_line("These weights do not form a CLIP model .* Check MODEL.BACKBONE"):
            load(ClipSpec("", str(tmp_path / "clip.pt"), **SAID))


def design_builder(monkeypatch, made):
    """Have clip.build_model want a design, and make of a word a plain model, or one with prompts; the words it gets."""
    plain_build, words = import_clip().build_model, []

    def build_model(state_dict, design_details):
        word = design_details["trainer"]
        words.append(word)
        torch.rand(3)  # constructors draw
        if word not in made:
            raise AssertionError
        assert not any(value for key, value in design_details.items() if key != "trainer")
        model = plain_build(state_dict)
        if made[word] == "prompted":
            model.visual.VPT = torch.nn.Parameter(torch.zeros(1))
        return model

    monkeypatch.setattr(import_clip(), "build_model", build_model)
    return words


@pytest.mark.parametrize(
    ("made", "tried"),
    [
        ({"CoOp": "plain", "IVLP": "prompted"}, ["CoOp"]),
        ({"CoOp": "prompted", "IVLP": "prompted", "VPT": "plain"}, ["CoOp", "IVLP", "VPT"]),
    ],
)
def test_first_design_word_that_builds_a_plain_model_is_taken(made, tried, clip_file, monkeypatch):
    state = read_tensors(clip_file)
    torch.manual_seed(3)
    torch.rand(3)
    import_clip().build_model(dict(state))
    after = torch.rand(1)
    words = design_builder(monkeypatch, made)
    torch.manual_seed(3)
    model = backbone.build_clip(state)
    assert torch.rand(1) == after
    assert torch.equal(model.text_projection, state["text_projection"].float())
    assert words == tried
    torch.manual_seed(3)
    draws.draw_constructor(model)
    assert torch.rand(1) == after


@pytest.mark.parametrize("wants", [True, False])
def test_words_are_tried_where_the_design_may_be_left_out(wants, clip_file, monkeypatch):
    plain_build, seen = import_clip().build_model, []

    def build_model(state_dict, design_details=None):
        seen.append(design_details)
        if wants:
            assert design_details["trainer"] == "CoOp"
        return plain_build(state_dict)

    monkeypatch.setattr(import_clip(), "build_model", build_model)
    backbone.build_clip(read_tensors(clip_file))
    assert [one and one["trainer"] for one in seen] == ([None, "CoOp"] if wants else [None])


def test_builder_that_takes_no_design_word_says_what_was_tried(clip_file, monkeypatch):
    design_builder(monkeypatch, {"VPT": "prompted"})
    before = torch.get_rng_state()
    with pytest.raises(UserError) as raised:
        backbone.build_clip(read_tensors(clip_file))
    message = str(raised.value)
    for word, fault in {
        "CoOp": "AssertionError",
        "IVLP": "AssertionError",
        "VPT": "the built model has an additional tensor visual.VPT",
    }.items():
        assert f"with the trainer {word} in design_details, {fault}" in message
    assert torch.equal(torch.get_rng_state(), before)
