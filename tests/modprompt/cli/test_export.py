import sys

import pytest

import modprompt
from tests.modprompt.use import made

WORDS = ["zero", "one", "two"]


@pytest.fixture
def saved(tmp_path):
    clip_model = made.glyph()

    def save(method):
        method.on(clip_model, WORDS).save(tmp_path / "own.pt")
        return str(tmp_path / "own.pt")

    return save


def test_safetensors_lie_beside_the_checkpoint(saved, tmp_path, said):
    out, err = said(0, "export", saved(modprompt.MPL(n_ctx=1, prompt_depth=3)), "--to", "safetensors")
    assert err == []
    assert out[0].startswith(f"written: {tmp_path / 'export.safetensors'} (")
    assert modprompt.load(tmp_path / "export.safetensors", device="cpu").classes.names == tuple(WORDS)


def test_bad_input_is_a_line(saved, refused, tmp_path, monkeypatch):
    assert "CoCoOp makes new class prompts for each image" in refused(
        "export", saved(modprompt.CoCoOp()), "--to", "onnx"
    )
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.pt").write_text("no checkpoint")
    for name in ("text.pt", "nowhere", "folder"):
        assert name in refused("export", tmp_path / name, "--to", "onnx")
    path = saved(modprompt.VPT(prompt_depth_vision=2))
    assert "ends in .onnx" in refused("export", path, "--to", "onnx", "--out", tmp_path / "a.pt")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    missing = "needs onnxscript, which is missing: pip install onnx onnxruntime onnxscript"
    assert missing in refused("export", path, "--to", "onnx")
