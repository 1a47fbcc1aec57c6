import warnings

import pytest
import torch

from modprompt.clip import build as backbone
from modprompt.clip import key_mapping, reading
from modprompt.errors import UserError
from tests.conftest import SAID, random_clip


def test_jit_archive_is_read(tmp_path):
    model = random_clip(text_layers=1, vision_layers=1)
    inputs = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's remarks
        torch.jit.save(torch.jit.trace(model, inputs, check_trace=False), str(tmp_path / "clip.pt"))
    again = reading.read_file(tmp_path / "clip.pt")
    assert torch.equal(again["text_projection"], model.text_projection)
    with pytest.raises(UserError, match="clip.pt does not say how it is run: give MODEL.BACKBONE.ACTIVATION"):
        backbone.load_clip("", str(tmp_path / "clip.pt"))  # an archive of OpenAI's form, but of unknown hash


def test_embedded_model_is_small_and_has_eight_layers_a_side():
    assert reading.EMBEDDED_FILE.stat().st_size <= 4e6
    model = backbone.load_clip("glyph-clip")
    assert backbone.layers_of(model) == (8, 8)
    assert model.vocab_size == 49408


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs", None])
def test_damaged_embedded_model_is_one_line(tmp_path, monkeypatch, content):
    path = tmp_path / "glyph_clip.npz"
    path.write_bytes(reading.EMBEDDED_FILE.read_bytes()[:5000] if content is None else content)
    monkeypatch.setattr(reading, "EMBEDDED_FILE", path)
    with pytest.raises(UserError, match="embedded model .* is missing or damaged"):
        backbone.load_clip("glyph-clip")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no file or folder at"), ({"a": torch.zeros(1)}, "not the state dict of a CLIP"), ("text", "whole")],
)
def test_bad_weight_files_are_one_line(tmp_path, content, message):
    path = tmp_path / "w.pt"
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=message) as raised:
        backbone.load_clip("", str(path), **SAID)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [None, 7, [torch.zeros(1)], torch.zeros(2), "text"])
def test_file_that_holds_no_tensors_by_name_is_one_line(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(UserError, match="w.pt is not the state dict of a CLIP: it holds no tensors by name"):
        reading.read_file(tmp_path / "w.pt")


@pytest.mark.parametrize("shapes", [[(2, 2), (2, 2), (2, 3)], [(), (), ()], [(2,), (2, 2), (2,)]])
def test_query_key_and_value_that_do_not_fit_together_are_one_line(shapes):
    front = "text_model.encoder.layers.0.self_attn."
    state = {f"{front}{one}_proj.weight": torch.zeros(shape) for one, shape in zip("qkv", shapes)}
    with pytest.raises(UserError, match="in_proj_weight cannot be joined: query, key and value have the shapes"):
        key_mapping.to_openai(state, key_mapping.TRANSFORMERS, "w.pt")


def test_small_file_of_a_model_that_fits_into_no_memory_is_refused(tmp_path):
    state = dict(reading.read_embedded())
    layer = {key: value for key, value in state.items() if ".resblocks.0." in key}
    many = {key.replace(".0.", f".{n}.", 1): value for n in range(8, 4000) for key, value in layer.items()}
    torch.save({**state, **many}, tmp_path / "many.pt")  # tensors that are one are written once
    with pytest.raises(UserError, match="many.pt is not .*: its tensors are far larger than the file"):
        backbone.load_clip("", str(tmp_path / "many.pt"), **SAID)


@pytest.mark.cover(2)
@pytest.mark.parametrize("around", ["module.", "state_dict", "both"])
def test_what_is_around_tensors_is_taken_off(tmp_path, around):
    state = random_clip(text_layers=1, vision_layers=1).state_dict()
    saved = {f"module.{name}": value for name, value in state.items()} if around != "state_dict" else dict(state)
    content = saved if around == "module." else {"state_dict": saved, "epoch": 3}
    torch.save(content, tmp_path / "w.pt")
    torch.save(dict(state), tmp_path / "plain.pt")
    one, other = (backbone.load_clip("", str(tmp_path / name), **SAID) for name in ("w.pt", "plain.pt"))
    assert one.fingerprint == other.fingerprint
