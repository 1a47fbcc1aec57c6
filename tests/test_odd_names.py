"""Every program in a terminal that shows ASCII alone, on folders whose names are no UTF-8 text: no traceback."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

ODD = os.fsdecode(b"b\xff\xc3d\xe4\xe9 \x1b")
SLOW = pytest.mark.slow
PROGRAMS = [
    (["-m", "modprompt", "experiment", "status", "digits", "--out", "{odd}"], 0),
    (["-m", "experiments.report", "digits", "--out", "{odd}", "--to", "{odd}/report"], 1),
    (["-m", "experiments.run", "{odd}"], 2),
    (["-m", "modprompt", "backbones", "{odd}"], 2),
    (["-m", "modprompt", "backbones"], 0),
    (["-m", "modprompt", "{odd}"], 2),
    (["-m", "modprompt", "install", "{odd}"], 2),
    (["-m", "modprompt.launch", "{odd}/train.py"], 2),
    (["train.py", "--help"], 0),
    pytest.param(["train.py", "--trainer", "{odd}"], 2, marks=SLOW),
    pytest.param(["-m", "modprompt", "train", "--trainer", "MPL", "--config-file", "{odd}"], 2, marks=SLOW),
    pytest.param(["-m", "modprompt", "active", "--trainer", "MPL", "--root", "{odd}", "--dataset-config-file", "{odd}"], 2, marks=SLOW),
    pytest.param(["-m", "modprompt", "prepare", "EuroSAT", "--root", "{odd}", "--check"], 1, marks=SLOW),
    pytest.param(["-m", "modprompt.data.prepare", "{odd}"], 2, marks=SLOW),
    pytest.param(["-m", "experiments.run", "digits", "--out", "{odd}", "--data", "{odd}", "--dry-run"], 0, marks=SLOW),
    pytest.param(["-m", "lpclip.feat_extractor", "--backbone", "{odd}", "--root", "{odd}"], 2, marks=SLOW),
    pytest.param(["-m", "lpclip.linear_probe", "--dataset", "{odd}", "--feature_dir", "{odd}"], 2, marks=SLOW),
    pytest.param(["-m", "tools.interpret", "{odd}/model.pth.tar-1"], 2, marks=SLOW),
    pytest.param(["-m", "tools.train_glyph_clip", "--help"], 0, marks=SLOW),
]  # fmt: skip


@pytest.mark.cover(4)
@pytest.mark.parametrize(
    ("words", "code"), PROGRAMS, ids=lambda one: " ".join(one[:4]) if isinstance(one, list) else ""
)
def test_program_shows_names_with_escapes(words, code, tmp_path):
    (tmp_path / ODD).mkdir()
    words = [word.replace("{odd}", str(tmp_path / ODD)) for word in words]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, timeout=120)
    said = (done.stdout + done.stderr).decode("ascii")
    assert done.returncode == code, said
    assert "Traceback" not in said
    if code == 2 and "install" not in words[2:3]:  # which says more, with its way back
        assert len(done.stderr.decode().splitlines()) == 1, said
