import os
import subprocess
import sys
from pathlib import Path

import clip
import pytest

from tests.conftest import ROOT
from tests.modprompt.hosts.stand_in import run_in, write_host


def test_report_names_what_is_in_use(tmp_path):
    host = write_host(tmp_path / "host", own_mpl=True)
    (tmp_path / "data" / "eurosat").mkdir(parents=True)
    done = run_in(host, "-m", "modprompt.doctor", "--root", tmp_path / "data")
    assert done.returncode == 0, done.stdout
    for words in ("PyTorch   ", "Dassl     ", f"clip      {host / 'clip'}", "eurosat", "ours is --trainer ModMPL"):
        assert words in done.stdout
    assert done.stdout.rstrip().endswith("MPL can run here")


def test_installed_clip_that_would_win_is_named_and_the_exit_code_says_so(tmp_path):
    host = write_host(tmp_path / "host", package=False)
    done = run_in(host, "-m", "modprompt.doctor")
    assert done.returncode == 1, done.stderr
    assert f"clip      {host / 'clip'}" in done.stdout
    assert f"-> train.py would import {Path(clip.__file__).parent} in place of {host / 'clip'}" in done.stdout
    assert "it has no __init__.py" in done.stdout
    assert done.stdout.rstrip().endswith("MPL cannot run here as it is: see the arrows")


@pytest.mark.parametrize("module", ["yacs", "dassl"])
def test_missing_package_is_named_and_the_exit_code_says_so(module, tmp_path):
    (tmp_path / "train.py").write_text("")
    block = f"import sys; sys.modules[{module!r}] = None; sys.argv = ['doctor']; from modprompt.doctor import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "MPL cannot run here as it is: see the arrows" in done.stdout
    assert ("pip install yacs" if module == "yacs" else "PYTHONPATH=") in done.stdout


def test_this_project_runs_on_the_dassl_that_it_brings():
    words = [sys.executable, "-m", "modprompt", "doctor"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert f"codebase  {ROOT}, this project" in done.stdout
