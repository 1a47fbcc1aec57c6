import urllib.error
import warnings

import pytest
import torch

from modprompt.clips import build as backbone
from modprompt.clips.package import import_clip
from modprompt.errors import UserError
from tests.conftest import random_clip


def test_state_dict_on_disk_becomes_a_stock_model(clip_file):
    model = backbone.load_clip("ViT-B/16", str(clip_file))
    assert type(model).__module__ == "clip.model"
    assert model.dtype == torch.float16
    saved = torch.load(clip_file, weights_only=True)
    torch.testing.assert_close(model.visual.conv1.weight, saved["visual.conv1.weight"].half())
    assert "input_resolution" not in model.state_dict()


def test_building_draws_as_clips_constructor_does(clip_file):
    """Seed parity: the constructor's draws are part of the stream."""
    state = torch.load(clip_file, weights_only=True)
    torch.manual_seed(3)
    backbone.build_clip(state)
    after = torch.rand(1)
    torch.manual_seed(3)
    import_clip().build_model(dict(state))
    assert torch.rand(1) == after


def test_build_leaves_the_state_dict_alone():
    state = dict(random_clip().state_dict(), context_length=torch.tensor(77))
    backbone.build_clip(state)
    assert "context_length" in state


def test_jit_archive_is_read(tmp_path):
    model = random_clip(text_layers=1, vision_layers=1)
    inputs = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's remarks
        torch.jit.save(torch.jit.trace(model, inputs, check_trace=False), str(tmp_path / "clip.pt"))
    again = backbone.read_file(tmp_path / "clip.pt")
    assert torch.equal(again["text_projection"], model.text_projection)


def test_embedded_model_is_small_and_has_eight_layers_a_side():
    file = backbone._EMBEDDED_FILE
    assert file.stat().st_size <= 4e6
    model = backbone.load_clip(backbone.EMBEDDED)
    assert len(model.transformer.resblocks) >= 8
    assert len(model.visual.transformer.resblocks) >= 8
    assert backbone.LAYERS[backbone.EMBEDDED] == backbone.layers_of(model)
    assert model.vocab_size == 49408


def test_unknown_name_gets_the_nearest():
    with pytest.raises(UserError, match="did you mean 'ViT-B/16'"):
        backbone.load_clip("ViT-B16")


def test_weights_that_cannot_be_had_say_where_and_what_to_do(monkeypatch):
    def refuse(url, root):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(import_clip(), "_download", refuse)
    with pytest.raises(
        UserError, match=r"ViT-B-16.pt is not there and the download failed.*MODEL.BACKBONE.PATH.*train.py"
    ):
        backbone.load_clip("ViT-B/16")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no file at"), ({"a": torch.zeros(1)}, "not the state dict of a CLIP"), ("text", "whole")],
)
def test_bad_weight_files_are_one_line(tmp_path, content, message):
    path = tmp_path / "w.pt"
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=message) as raised:
        backbone.load_clip("", str(path))
    assert "\n" not in str(raised.value)


def test_resnet_is_refused_where_vision_prompts_are_needed(resnet_file):
    model = backbone.load_clip("", str(resnet_file))
    with pytest.raises(UserError, match="MPL puts prompts into a vision transformer, but RN50 is a ResNet"):
        backbone.require_vision_transformer(model, "RN50", "MPL")


def test_input_size_that_does_not_fit_is_refused(clip_model):
    with pytest.raises(UserError, match="INPUT.SIZE is 32 x 48, but this model takes images of 32 x 32 pixels"):
        backbone.require_input_size(clip_model, 32, 48)


@pytest.mark.parametrize("fault", ["missing", "extra", "shape", "half", "no tensor"])
def test_incomplete_weights_are_one_line(tmp_path, fault):
    state = dict(random_clip(text_layers=1, vision_layers=1).state_dict())
    if fault == "missing":
        del state["visual.ln_post.weight"]
    elif fault == "extra":
        state["something"] = torch.zeros(1)
    elif fault == "shape":
        state["visual.ln_post.weight"] = torch.zeros(3)
    elif fault == "half":
        state = {key: value for key, value in state.items() if not key.startswith("visual.")}
    else:
        state["ln_final.weight"] = "text"
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(UserError, match="these weights do not make up a CLIP") as raised:
        backbone.load_clip("", str(tmp_path / "w.pt"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs", None])
def test_damaged_embedded_model_is_one_line(tmp_path, monkeypatch, content):
    path = tmp_path / "glyph_clip.npz"
    path.write_bytes(backbone._EMBEDDED_FILE.read_bytes()[:5000] if content is None else content)
    monkeypatch.setattr(backbone, "_EMBEDDED_FILE", path)
    with pytest.raises(UserError, match="embedded model .* is missing or damaged"):
        backbone.load_clip(backbone.EMBEDDED)


def test_small_file_of_a_model_that_fits_into_no_memory_is_refused(tmp_path):
    state = dict(backbone.read_embedded())
    layer = {key: value for key, value in state.items() if ".resblocks.0." in key}
    many = {key.replace(".0.", f".{n}.", 1): value for n in range(8, 4000) for key, value in layer.items()}
    torch.save({**state, **many}, tmp_path / "many.pt")  # tensors that are one are written once
    positions = state["positional_embedding"][:1].expand(20_000, -1)
    torch.save({**state, "positional_embedding": positions}, tmp_path / "long.pt")
    with pytest.raises(UserError, match="many.pt is not .*: its tensors are far larger than the file"):
        backbone.load_clip("", str(tmp_path / "many.pt"))
    with pytest.raises(UserError, match="long.pt is not .*: it has 20,000 positions in a text"):
        backbone.load_clip("", str(tmp_path / "long.pt"))
