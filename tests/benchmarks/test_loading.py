"""The peak of loading a CLIP, and that what the benchmark writes is a CLIP of the shape that it names."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import loading
from modprompt.clip.facts import facts_of
from modprompt.clip.known import ACTIVATIONS
from modprompt.clip.load import load_clip

SMALL = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 96, "head_width": 48, "mlp_ratio": 3.0, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}
MIDDLE = {  # some 300 MB in float32
    "embed_dim": 512,
    "vision_cfg": {"image_size": 224, "layers": 6, "width": 768, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 4},
}


@pytest.mark.cover(4)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("form", loading.FORMS)
def test_every_form_is_a_clip_of_the_shape_that_was_asked_for(tmp_path, form, activation):
    size = loading.write(tmp_path, SMALL, form, torch.float32, activation)
    model = load_clip(tmp_path, "cpu")[0]
    facts, state = facts_of(model), model.state_dict()
    assert (facts.activation, facts.heads, facts.size) == (activation, (2, 2), 32)
    assert facts.dialect == ("transformers" if form == "transformers" else "open_clip")
    assert {name: one.shape for name, one in state.items()} == {
        name: one.shape for name, one in loading.empty_state(SMALL).items()
    }
    assert size == sum(one.numel() * 4 for one in state.values())
    assert state["visual.proj"].std().item() == pytest.approx(0.02, rel=0.1)


def test_lines_have_the_peak_over_both_sizes(tmp_path, monkeypatch, capsys):
    found = {"peak": 6 * loading.GIB, "after": 5 * loading.GIB, "tensors": 4 * loading.GIB, "seconds": 7.0}
    monkeypatch.setattr(loading, "in_a_process", lambda folder: found)
    monkeypatch.setitem(loading.MODELS, "ViT-B-16", SMALL)
    assert loading.main(["--model", "ViT-B-16", "--dtype", "float16", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "ViT-B-16, gelu, float16, safetensors\n" in said
    assert "peak 6.00 GiB, afterwards 5.00; tensors 4.00, in the file 0.01; 7 s\n" in said
    assert "peak / tensors: 1.500 (at most 2.2)" in said
    assert not list(tmp_path.iterdir())  # the temporary folder is gone


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("form", "dtype"),
    [
        *((form, torch.float32) for form in loading.FORMS),
        ("safetensors", torch.float16),
        ("safetensors", torch.bfloat16),
    ],
)
def test_loading_holds_the_tensors_little_more_than_twice(tmp_path, form, dtype):
    loading.write(tmp_path, MIDDLE, form, dtype)
    found = loading.in_a_process(tmp_path)
    assert found["tensors"] > 3e8
    assert found["peak"] <= loading.MOST * found["tensors"], json.dumps(found)
