import sys

import modprompt
from tests.modprompt.use.made import NAMES, model_of


def test_safetensors_lie_beside_the_checkpoint(tmp_path, said):
    model_of("MPL").save(tmp_path / "own.pt")
    out, err = said(0, "export", tmp_path / "own.pt", "--to", "safetensors")
    assert err == []
    assert out[0].startswith(f"Exported to {tmp_path / 'export.safetensors'} (")
    assert modprompt.load(tmp_path / "export.safetensors", device="cpu").classes.names == tuple(NAMES)


def test_bad_input_is_a_line(refused, tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.pt").write_text("no checkpoint")
    for name in ("text.pt", "nowhere", "folder"):
        assert name in refused("export", tmp_path / name, "--to", "onnx")
    path = tmp_path / "own.pt"
    model_of("VPT").save(path)
    assert "does not end in .onnx" in refused("export", path, "--to", "onnx", "--out", tmp_path / "a.pt")
    assert "Remove --precision." in refused("export", path, "--to", "safetensors", "--precision", "fp16")
    assert "--to lora supports only models trained with CLIPLoRA, not VPT." in refused("export", path, "--to", "lora")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    missing = "needs the package onnxscript, which is not installed. Run `pip install onnx onnxruntime onnxscript`."
    assert missing in refused("export", path, "--to", "onnx")
