import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from modprompt.hosts import doctor, install
from tests.conftest import ROOT
from tests.modprompt.hosts.stand_in import dassl_folder, git, run_in, write_host

PATIENT = ("--seconds", "240")  # a machine that runs other tests beside this is slow
DOCTOR = ("-m", "modprompt", "doctor")
WELL = "MPL trains and is tested"
pytestmark = [pytest.mark.timeout(360), pytest.mark.slow]


def ways(done):
    """The lines on ways, and the last."""
    return [*re.findall(r"^(?:--host|launcher|train ) .*", done.stdout, re.MULTILINE), done.stdout.splitlines()[-1]]


def test_report_names_what_is_in_use_lacking_and_changed_and_what_was_tried(tmp_path):
    host = write_host(tmp_path / "repo" / "src", "own MPL", "changes settings", "asks for more")
    (host / "trainers" / "own.py").write_text("import skimage.io, no_package\n")
    reader = host / "datasets" / "eurosat.py"  # looks at no SUBSAMPLE_CLASSES
    reader.write_text(reader.read_text().replace("cfg.DATASET.SUBSAMPLE_CLASSES", "all"))
    git(host, "commit", "-qam", "lacks")
    (tmp_path / "data" / "eurosat").mkdir(parents=True)
    done = run_in(host.parent, *DOCTOR, "--root", tmp_path / "data", *PATIENT)
    assert done.returncode == 0, done.stdout
    why, *rest = ways(done)
    assert why.startswith(
        "launcher  MPL cannot run: The reader of the data set EuroSAT does not support DATASET.SUBSAMPLE_CLA"
    )
    assert rest == [f"launcher  {WELL}", "MPL can run here."]
    for words in (
        "-> The training is repeated on all classes.", "PyTorch   ", "Dassl     ", f"clip      {host / 'clip'}", f"data      {tmp_path / 'data'}: eurosat",
        f"codebase  {host}", "missing   no_package, scikit-image", "-> Run `pip install no_package scikit-image`.\n",
        "launch train.py --trainer ModMPL", "the program replaces some training labels by wrong labels, so modprompt added these arguments: ",
        "-> kept: OPTIM.MAX_EPOCH was set to 1 ", "-> kept: TEST.FINAL_MODEL is best_val in this codebase's program ",
        "-> This codebase imports the module trainers.own, but the import fails (",
    ):  # fmt: skip
        assert words in done.stdout
    assert git(host, "status", "--porcelain", "--ignored") == ""


def test_each_way_in_is_named_with_the_packages_it_lacks(tmp_path):
    host = write_host(tmp_path / "host")
    with (host / "trainers" / "own.py").open("a") as file:
        file.write("import for_a_trainer\n")
    with (host / "datasets" / "squares.py").open("a") as file:
        file.write("import for_a_reader\n")

    def advice():
        """What the report says below each way in: --host, launcher, train.py."""
        path = os.pathsep.join([str(tmp_path / "Dassl"), str(ROOT)])
        command, environment = [sys.executable, *DOCTOR, "--seconds", "0"], {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, cwd=host, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        return re.findall(r"^ {10}-> (This command .*)", done.stdout, re.MULTILINE)

    shutil.copytree(ROOT / "modprompt/compat/stand_in", tmp_path / "Dassl")
    trainer, reader = "for_a_trainer", "for_a_reader"
    of_host = f"This command runs, but data sets whose reader imports {reader} cannot be read."
    of_programs = [f"This command cannot run without {names}." for names in (reader, f"{reader}, {trainer}")]
    assert advice() == [of_host, *of_programs]
    with (tmp_path / "Dassl" / "dassl" / "utils" / "__init__.py").open("a") as file:
        file.write("import for_dassl\n")
    packages = ["for_dassl", "for_a_reader, for_dassl", "for_a_reader, for_a_trainer, for_dassl"]
    assert advice() == [f"This command cannot run without {names}." for names in packages]
    if dassl_folder() != str(ROOT / "modprompt/compat/stand_in"):
        return  # an installed Dassl is used now
    shutil.rmtree(tmp_path / "Dassl")
    of_programs = [line.replace("without ", "without Dassl, ") for line in of_programs]
    assert advice() == [of_host, *of_programs]


def test_where_the_launcher_cannot_run_our_program_is_tried(tmp_path):
    host = write_host(tmp_path / "host")
    program = (host / "train.py").read_text().replace("#FLAGS", 'parser.add_argument("--key-file", required=True)')
    (host / "train.py").write_bytes(install.with_line(program.encode()))
    done = run_in(host, *DOCTOR, *PATIENT, installed=True)
    assert done.returncode == 0, done.stdout
    why = "launcher  MPL cannot run: the following arguments are required: --key-file"
    assert ways(done) == [why, f"--host    {WELL}", "MPL can run here, but only with --host."]
    assert "(the import line is installed)" in done.stdout
    (host / "datasets" / "eurosat.py").write_text("@DATASET_REGISTRY.register()\nclass EuroSAT:\n    pass\n")
    done = run_in(host, *DOCTOR, *PATIENT, installed=True)
    assert done.returncode == 1, done.stdout
    assert "eurosat.py cannot be imported (name 'DATASET_REGISTRY' is not defined)" in ways(done)[1]
    assert ways(done)[-1] == "MPL cannot run here. The reasons are listed above."


def test_reader_of_another_layout_is_not_tried(tmp_path):
    host = write_host(tmp_path / "host")
    reader = host / "datasets" / "eurosat.py"
    reader.write_text(reader.read_text().replace('"2750"', '"images"'))
    done = run_in(host, *DOCTOR, *PATIENT)
    assert done.returncode == 2, done.stdout
    assert [line[10:21] for line in ways(done)[:-1]] == ["not tried: "] * 2
    assert ways(done)[-1] == "The training could not be tested. The reasons are listed above."


def test_what_was_not_reached_is_not_tried(tmp_path):
    done = run_in(write_host(tmp_path / "host"), *DOCTOR, "--seconds", "0")
    assert done.returncode == 2, done.stdout
    untried = "not tried: the time limit was reached (--seconds)"
    last = "The training could not be tested. The reasons are listed above."
    assert ways(done) == [f"launcher  {untried}", f"--host    {untried}", last]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_at_once_with_all_that_it_started(number, tmp_path):
    host = write_host(tmp_path / "host")
    text = "open('pid', 'w').write(str(__import__('os').getpid()))\n__import__('time').sleep(77)\n"
    (host / "train.py").write_text(f"{text}import dassl, build_trainer\n")
    (tmp_path / "temp").mkdir()
    path = os.pathsep.join([dassl_folder(), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path / "temp")}
    command = [sys.executable, "-m", "modprompt.doctor"]
    process = subprocess.Popen(command, cwd=host, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 100
    while not (host / "pid").is_file() and time.monotonic() < until:
        time.sleep(0.1)
    pid = (host / "pid").read_text()
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, b"Interrupted.\n")
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False).stdout
    assert state.strip()[:1] in ("", "Z")
    assert list((tmp_path / "temp").iterdir()) == []


def test_no_codebase_is_tried_with_our_own_program(tmp_path):
    done = run_in(tmp_path, *DOCTOR, *PATIENT)
    assert done.returncode == 0, done.stdout
    assert ways(done) == [f"train     {WELL}", "MPL can run here with `modprompt train`."]
    assert list(tmp_path.iterdir()) == []


def test_packages_that_all_need_are_named_and_the_exit_code_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(doctor, "spec_of", {"numpy": "there"}.get)
    assert doctor.main([]) == 1
    assert "-> Run `pip install torch torchvision yacs Pillow`.\n" in capsys.readouterr().out


def test_without_a_dassl_our_program_runs_and_its_own_does_not(tmp_path):
    if dassl_folder() != str(ROOT / "modprompt/compat/stand_in"):
        pytest.skip("Dassl is installed")
    command, environment = [sys.executable, *DOCTOR, *PATIENT], {**os.environ, "PYTHONPATH": str(ROOT)}
    host = write_host(tmp_path / "host")
    done = subprocess.run(command, cwd=host, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Dassl     not found\n" in done.stdout
    assert ways(done)[0].startswith(
        "launcher  MPL cannot run: Could not import clip or Dassl for the codebase in the current folder: No module named 'dassl'. "
    )
    assert ways(done)[0].endswith("Add the folder of Dassl.pytorch to PYTHONPATH, or use `modprompt train --host`.")
    assert ways(done)[1:] == [f"--host    {WELL}", "MPL can run here, but only with --host."]
