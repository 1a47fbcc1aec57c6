import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import clip
import pytest

from modprompt.hosts import install
from modprompt.hosts.train_line import without_line
from tests.conftest import ROOT
from tests.modprompt.hosts.stand_in import dassl_folder, git, run_in, write_host

PATIENT = ("--seconds", "240")  # a machine that runs other tests beside this is slow
pytestmark = pytest.mark.timeout(360)


@pytest.mark.slow
def test_report_names_what_is_in_use_and_what_was_tried(tmp_path):
    host = write_host(tmp_path / "host", own_mpl=True)
    (tmp_path / "data" / "eurosat").mkdir(parents=True)
    done = run_in(host, "-m", "modprompt.doctor", "--root", tmp_path / "data", *PATIENT)
    assert done.returncode == 0, done.stdout
    for words in ("PyTorch   ", "Dassl     ", f"clip      {host / 'clip'}", "eurosat", "ours is --trainer ModMPL"):
        assert words in done.stdout
    lines = done.stdout.splitlines()
    assert lines[-3:] == ["launcher  MPL trains and tests", "installer MPL trains and tests", "MPL can run here"]
    assert git(host, "status", "--porcelain", "--ignored") == ""


@pytest.mark.slow
def test_installed_clip_that_would_win_keeps_the_installer_out_and_not_the_launcher(tmp_path):
    host = write_host(tmp_path / "host", package=False)
    done = run_in(host, "-m", "modprompt.doctor", *PATIENT)
    assert done.returncode == 0, done.stderr
    assert f"clip      {host / 'clip'}" in done.stdout
    other = f"train.py would import {Path(clip.__file__).parent} in place of {host / 'clip'} (it has no __init__.py)"
    assert f"installer MPL cannot run: {other}" in done.stdout
    assert "launcher  MPL trains and tests" in done.stdout
    assert done.stdout.rstrip().endswith("MPL can run here, by the launcher alone")


@pytest.mark.slow
@pytest.mark.parametrize("has_line", [True, False])
def test_where_mpl_is_installed_the_exit_code_is_that_of_the_program(has_line, tmp_path):
    host = write_host(tmp_path / "host")
    assert install.main([str(host)]) == 0
    if not has_line:
        (host / "train.py").write_bytes(without_line((host / "train.py").read_bytes()))
    done = run_in(host, "-m", "modprompt.doctor", *PATIENT, installed=True)
    assert f"{host} with MPL installed" in done.stdout
    assert "launcher  MPL trains and tests" in done.stdout
    assert done.returncode == (0 if has_line else 1), done.stdout
    lost = "installer MPL cannot run: train.py has no import line of MPL any more: install again"
    assert (lost in done.stdout) == (not has_line)


@pytest.mark.slow
def test_what_could_not_be_tried_has_an_exit_code_of_its_own(tmp_path):
    host = write_host(tmp_path / "host", unknown_flag=True)
    (host / "train.py").write_text(
        (host / "train.py").read_text().replace("\nparser =", "\nopen('log', 'w')\nparser =")
    )
    done = run_in(host, "-m", "modprompt.doctor", *PATIENT)
    assert done.returncode == 2, done.stdout
    assert "launcher  could not be tried: train.py asks for --key-file" in done.stdout
    assert "left      by the codebase's own program: log\n" in done.stdout
    assert done.stdout.rstrip().endswith("whether MPL can run here could not be tried: see above")
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_at_once_with_all_that_it_started(number, tmp_path):
    host = write_host(tmp_path / "host")
    text = "open('pid', 'w').write(str(__import__('os').getpid()))\n__import__('time').sleep(77)\nimport dassl, build_trainer\n"
    (host / "train.py").write_text(text)
    (tmp_path / "temp").mkdir()
    path = os.pathsep.join([dassl_folder(), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path / "temp")}
    command = [sys.executable, "-m", "modprompt.doctor"]
    doctor = subprocess.Popen(command, cwd=host, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not (host / "pid").is_file() and time.monotonic() < until:
        time.sleep(0.1)
    pid = (host / "pid").read_text()
    doctor.send_signal(number)
    _, errors = doctor.communicate(timeout=20)
    assert (doctor.returncode, errors) == (130, b"interrupted\n")
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False).stdout
    assert state.strip()[:1] in ("", "Z")
    assert list((tmp_path / "temp").iterdir()) == []


@pytest.mark.slow
def test_no_codebase_is_tried_with_our_own_program(tmp_path):
    done = run_in(tmp_path, "-m", "modprompt.doctor", *PATIENT)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-2:] == ["trial     MPL trains and tests", "MPL can run here"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["yacs", "dassl"])
def test_missing_package_is_named_and_the_exit_code_says_so(module, tmp_path):
    (tmp_path / "train.py").write_text("")
    block = f"import sys; sys.modules[{module!r}] = None; sys.argv = ['doctor']; from modprompt.doctor import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "MPL cannot run here as it is: see the arrows" in done.stdout
    assert ("pip install yacs" if module == "yacs" else "PYTHONPATH=") in done.stdout


@pytest.mark.slow
def test_this_project_runs_on_the_dassl_that_it_brings():
    words = [sys.executable, "-m", "modprompt", "doctor", *PATIENT]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert f"codebase  {ROOT}, this project" in done.stdout
    assert "trial     MPL trains and tests" in done.stdout
