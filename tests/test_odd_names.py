"""Every program in a terminal that shows ASCII alone, on folders whose names are no UTF-8 text: no traceback."""

import io
import os
import runpy
import sys

import pytest

from tests.conftest import ROOT

ODD = os.fsdecode(b"b\xff\xc3d\xe4\xe9 \x1b")
PROGRAMS = [  # words behind python -m, and the exit code
    ("modprompt experiment status digits --out {odd}", 0),
    ("experiments.report digits --out {odd} --to {odd}/report", 1),
    ("experiments.run {odd}", 2),
    ("experiments.run digits --out {odd} --data {odd} --dry-run", 0),
    ("modprompt backbones {odd}", 2),
    ("modprompt backbones", 0),
    ("modprompt {odd}", 2),
    ("modprompt install {odd}", 2),
    ("modprompt.launch {odd}/train.py", 2),
    ("train --help", 0),
    ("train --trainer {odd}", 2),
    ("modprompt train --trainer MPL --config-file {odd}", 2),
    ("modprompt active --trainer MPL --root {odd} --dataset-config-file {odd}", 2),
    ("modprompt prepare EuroSAT --root {odd} --check", 1),
    ("lpclip.feat_extractor --backbone {odd} --root {odd}", 2),
    ("lpclip.linear_probe --dataset {odd} --feature_dir {odd}", 2),
    ("tools.interpret {odd}/model.pth.tar-1", 2),
]


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize(("line", "code"), PROGRAMS)
def test_program_shows_names_with_escapes(line, code, tmp_path, monkeypatch):
    (tmp_path / ODD).mkdir()
    module, *words = [word.replace("{odd}", str(tmp_path / ODD)) for word in line.split()]
    out = io.TextIOWrapper(io.BytesIO(), "ascii")  # as Python opens them
    err = io.TextIOWrapper(io.BytesIO(), "ascii", errors="backslashreplace")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [module, *words])
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    out.flush()
    err.flush()
    said = err.buffer.getvalue().decode("ascii")
    assert (ended.value.code or 0) == code, said
    assert "Traceback" not in said
    if code == 2 and "install" not in words[:1]:  # which says more, with its way back
        assert len(said.splitlines()) == 1
