import sys

import pytest

import modprompt
from modprompt.cli import main
from tests.modprompt.use import made

WORDS = ["zero", "one", "two"]


@pytest.fixture
def saved(tmp_path):
    clip_model = made.glyph()

    def save(method):
        method.on(clip_model, WORDS).save(tmp_path / "own.pt")
        return str(tmp_path / "own.pt")

    return save


def refused(capsys, *words):
    assert main.main(["export", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "Traceback" not in err
    return err


def test_safetensors_lie_beside_the_checkpoint(saved, tmp_path, capsys):
    assert main.main(["export", saved(modprompt.MPL(n_ctx=1, prompt_depth=3)), "--to", "safetensors"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"written: {tmp_path / 'export.safetensors'} (")
    assert modprompt.load(tmp_path / "export.safetensors", device="cpu").classes.names == tuple(WORDS)


def test_cocoop_is_a_line(saved, capsys):
    assert "CoCoOp makes new class prompts for each image" in refused(capsys, saved(modprompt.CoCoOp()), "--to", "onnx")


def test_what_is_no_run_is_a_line(capsys, tmp_path):
    (tmp_path / "text.pt").write_text("no checkpoint")
    assert "text.pt" in refused(capsys, str(tmp_path / "text.pt"), "--to", "onnx")
    assert "nowhere" in refused(capsys, str(tmp_path / "nowhere"), "--to", "onnx")
    assert str(tmp_path) in refused(capsys, str(tmp_path), "--to", "onnx")


def test_a_suffix_that_is_anothers_is_a_line(saved, capsys, tmp_path):
    path = saved(modprompt.VPT(prompt_depth_vision=2))
    assert "ends in .onnx" in refused(capsys, path, "--to", "onnx", "--out", str(tmp_path / "a.pt"))


def test_a_missing_package_is_a_line(saved, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    err = refused(capsys, saved(modprompt.VPT(prompt_depth_vision=2)), "--to", "onnx")
    assert "needs onnxscript, which is missing: pip install onnx onnxruntime onnxscript" in err
