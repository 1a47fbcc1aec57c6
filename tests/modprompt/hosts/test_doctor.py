import os
import signal
import subprocess
import sys
import time

import pytest

from modprompt.hosts import install
from tests.conftest import ROOT
from tests.modprompt.hosts.stand_in import dassl_folder, git, run_in, write_host
from tests.warm import run_python

PATIENT = ("--seconds", "240")  # a machine that runs other tests beside this is slow
DOCTOR = ("-m", "modprompt", "doctor")
pytestmark = pytest.mark.timeout(360)


def ways(done):
    """The lines on ways, and the last."""
    lines = done.stdout.splitlines()
    return [line for line in lines if line.startswith(("--host", "launcher", "train.py ", "trial "))] + lines[-1:]


@pytest.mark.slow
def test_report_names_what_is_in_use_and_what_was_tried(tmp_path):
    host = write_host(tmp_path / "repo" / "src", own_mpl=True)
    (tmp_path / "data" / "eurosat").mkdir(parents=True)
    done = run_in(host.parent, *DOCTOR, "--root", tmp_path / "data", *PATIENT)
    assert done.returncode == 0, done.stdout
    for words in ("PyTorch   ", "Dassl     ", f"clip      {host / 'clip'}", "eurosat", "ours is --trainer ModMPL"):
        assert words in done.stdout
    assert ways(done) == ["--host    MPL trains and tests", "launcher  MPL trains and tests", "MPL can run here"]
    assert git(host, "status", "--porcelain", "--ignored") == ""


@pytest.mark.slow
def test_what_its_program_changes_and_adds_is_told(tmp_path):
    host = write_host(tmp_path / "host", epochs=3, noise=True, override="TEST.FINAL_MODEL best_val")
    done = run_in(host, *DOCTOR, *PATIENT)
    assert done.returncode == 0, done.stdout
    assert "launcher  MPL trains and tests" in done.stdout
    assert (
        "-> note: train.py: it makes training labels wrong on purpose; added: DATASET.NOISE_LABEL False" in done.stdout
    )
    assert "-> kept: OPTIM.MAX_EPOCH: asked 1 " in done.stdout
    assert "-> kept: TEST.FINAL_MODEL: nobody gave it; " in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("has_line", [True, False])
def test_the_exit_code_is_that_of_the_program_where_the_line_is_in_it(has_line, tmp_path):
    host = write_host(tmp_path / "host", unknown_flag=True)
    if has_line:
        assert install.main([str(host)]) == 0
    (host / "train.py").write_text(
        (host / "train.py").read_text().replace("\nparser =", "\nopen('log', 'w')\nparser =")
    )
    done = run_in(host, *DOCTOR, *PATIENT, installed=True)
    assert done.returncode == int(has_line), done.stdout
    asks = "MPL cannot run: the following arguments are required: --key-file"
    line = [f"train.py  {asks}"] if has_line else []
    last = "MPL cannot run here as it is: see the arrows" if has_line else "MPL can run here, by --host alone"
    assert ways(done) == [*line, "--host    MPL trains and tests", f"launcher  {asks}", last]
    assert "left      by the codebase's own program: log\n" in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
def test_reader_that_does_not_take_the_pictures_is_told_and_others_are_tried(tmp_path):
    host = write_host(tmp_path / "host")
    reader = host / "datasets" / "eurosat.py"
    reader.write_text(reader.read_text().replace('"eurosat"', '"elsewhere"'))
    done = run_in(host, *DOCTOR, *PATIENT)
    assert done.returncode == 0, done.stdout
    told = "-> its own reader of EuroSAT does not accept made-up images: "
    assert ways(done)[:2] == ["--host    MPL trains and tests", "launcher  MPL trains and tests"]
    assert done.stdout.count(told) == 2


@pytest.mark.slow
def test_what_was_not_reached_is_not_tried(tmp_path):
    done = run_in(write_host(tmp_path / "host"), *DOCTOR, "--seconds", "1")
    assert done.returncode == 2, done.stdout
    last = "whether MPL can run here could not be tried: see above"
    assert ways(done) == ["--host    not tried: time ran out", "launcher  not tried: time ran out", last]


@pytest.mark.slow
def test_package_that_is_missing_is_advised_by_its_name_for_pip(tmp_path):
    host = write_host(tmp_path / "host", first=("skimage.not_there",))
    done = run_in(host, *DOCTOR, *PATIENT)
    assert "launcher  MPL cannot run: ModuleNotFoundError: No module named 'skimage" in done.stdout
    assert "-> pip install scikit-image" in done.stdout
    assert "clip-anytorch" not in done.stdout
    assert "doctor" not in done.stdout


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
    done = run_in(tmp_path, *DOCTOR, *PATIENT)
    assert done.returncode == 0, done.stdout
    assert ways(done) == ["trial     MPL trains and tests", "MPL can run here"]
    assert list(tmp_path.iterdir()) == []


def test_package_that_all_need_is_named_and_the_exit_code_says_so(tmp_path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "train.py").write_text("import dassl; dassl.engine.build_trainer")
    block = "import sys; sys.modules['yacs'] = None; sys.argv = ['doctor']; from modprompt.doctor import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = run_python("-c", block, folder=tmp_path, environment=environment)
    assert done.returncode == 1, done.stderr
    assert "MPL cannot run here as it is: see the arrows" in done.stdout
    assert "pip install yacs" in done.stdout


@pytest.mark.slow
def test_without_a_dassl_our_program_runs_and_its_own_does_not(tmp_path):
    host = write_host(tmp_path / "host")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = run_python(*DOCTOR, *PATIENT, folder=host, environment=environment)
    if dassl_folder() != str(ROOT / "modprompt/compat/stand_in"):
        pytest.skip("Dassl is installed")
    assert done.returncode == 0, done.stderr
    assert "Dassl     not found; our program (--host) brings a small one" in done.stdout
    assert ways(done)[1:] == [
        "launcher  MPL cannot run: No module named 'dassl' (this codebase's program, clip or Dassl needs it): put the "
        "folder of Dassl.pytorch on PYTHONPATH, or use modprompt train --host",
        "MPL can run here, by --host alone",
    ]


@pytest.mark.slow
def test_this_project_runs_on_the_dassl_that_it_brings():
    done = run_python(*DOCTOR, *PATIENT, folder=ROOT)
    assert done.returncode == 0, done.stdout
    assert f"codebase  {ROOT}, this project" in done.stdout
    assert "trial     MPL trains and tests" in done.stdout
