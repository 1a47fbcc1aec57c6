import importlib
import os
import subprocess
import sys

import pytest

import modprompt
from modprompt.cli import main
from tests.conftest import ROOT
from tests.modprompt.experiments.conftest import FILE


@pytest.fixture
def called(monkeypatch):
    """What a command's own main is called with, in place of it."""
    calls = []
    for command in main.COMMANDS.values():
        module = importlib.import_module(command.module)
        monkeypatch.setattr(
            module, "main", lambda words, name=command.module: calls.append((name, words, sys.argv[0])) or 7
        )
    return calls


@pytest.mark.parametrize(
    ("words", "module", "rest"),
    [
        (["train", "--trainer", "MPL"], "cli.train", ["--trainer", "MPL"]),
        (["prepare", "all", "--check"], "data.prepare.__main__", ["all", "--check"]),
        (["experiment", "run", "demo", "--jobs", "2"], "experiments.running.run", ["demo", "--jobs", "2"]),
        (["experiment", "status", "demo"], "experiments.running.status", ["demo"]),
        (["experiment", "report", "demo"], "experiments.reporting.report", ["demo"]),
        (["backbones", "laion"], "cli.backbones", ["laion"]),
        (["predict", "output/run", "a.jpg"], "cli.predict", ["output/run", "a.jpg"]),
        (["push", "output/run", "me/x"], "cli.push", ["output/run", "me/x"]),
        (["pull", "me/x"], "cli.pull", ["me/x"]),
        (["export", "output/run", "--to", "onnx"], "cli.export", ["output/run", "--to", "onnx"]),
        (["show", "output/run"], "cli.show", ["output/run"]),
        (["interpret", "output/model.pth.tar-5"], "cli.interpret", ["output/model.pth.tar-5"]),
        (["doctor"], "hosts.doctor", []),
        (["install", "x", "--dry-run"], "hosts.install", ["x", "--dry-run"]),
        (["launch", "train.py", "--help"], "hosts.launch", ["train.py", "--help"]),
    ],
)
def test_words_are_handed_on_and_the_exit_code_back(words, module, rest, called):
    assert main.main(words) == 7
    name = " ".join(words[: 2 if words[0] == "experiment" else 1])
    assert called == [(f"modprompt.{module}", rest, f"modprompt {name}")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "error: modprompt: there is no 'trian'; did you mean 'train'?"),
        (["run"], "error: modprompt: there is no 'run'"),
        (["experiment"], "error: modprompt experiment: no name is given (known: choose, report, run, status)"),
        (["experiment", "stats"], "error: modprompt experiment: there is no 'stats'; did you mean 'status'?"),
        (["experiment run"], "error: modprompt: there is no 'experiment run'"),
    ],
)
def test_unknown_command_is_one_line(words, message, capsys):
    assert main.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_help_and_version(capsys):
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"modprompt {modprompt.__version__}\n"
    assert main.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in main.COMMANDS)
    assert main.main(["experiment", "--help"]) == 0
    assert "\n  train " not in capsys.readouterr().out
    assert main.main([]) == 2
    assert capsys.readouterr() == ("", text)


def test_help_of_status_is_of_status(capsys):
    with pytest.raises(SystemExit, match="0"):
        main.main(["experiment", "status", "--help"])
    text = capsys.readouterr().out
    assert "The state of an experiment's runs" in text
    assert "--launcher" not in text


def test_help_reports_and_states_bring_no_pytorch(tmp_path):
    (tmp_path / "small.yaml").write_text(FILE)
    code = (
        "import sys; from modprompt.cli.main import main\n"
        "words = ['small.yaml', '--out', 'out']\n"
        "codes = [main(['--help']), main(['--version']), main(['experiment', 'report', *words]), main(['experiment', 'status', *words])]\n"
        "assert codes == [0, 0, 1, 0], codes\n"
        "assert not {'torch', 'dassl', 'clip'} & set(sys.modules)\n"
    )
    environment = {"PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(tmp_path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "8 waiting, of 8 runs" in done.stdout


def test_report_asks_for_what_figures_need_before_the_runs(tmp_path, monkeypatch, capsys):
    from modprompt.experiments.running import run

    (tmp_path / "small.yaml").write_text(FILE)
    monkeypatch.setattr(run, "start", lambda *_: print("runs", file=sys.stderr) or 0)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    words = ["experiment", "run", str(tmp_path / "small.yaml"), "--report", "--out", str(tmp_path / "out")]
    assert main.main([*words, "--data", str(tmp_path / "data")]) == 0
    said = "warning: --report will have no figures: they need matplotlib, pip install matplotlib\nruns\n"
    assert capsys.readouterr().err.endswith(said)


def test_module_is_the_command():
    words = [sys.executable, "-m", "modprompt", "experiment", "statu"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'status'" in done.stderr


@pytest.mark.slow
def test_training_predicting_and_states_bring_no_package_that_they_have_no_need_of(tmp_path):
    """On digits that are made already: scikit-learn has their images, and brings pandas and scipy.stats."""
    heavy = {"pandas", "pydantic", "scipy.stats", "sklearn", "matplotlib", "gradio", "submitit", "open_clip"}
    code = f"import sys; from modprompt.cli.main import main; assert main(sys.argv[1:]) == 0; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATA": str(tmp_path / "data"), "OMP_NUM_THREADS": "1"}
    words = [
        "--dataset-config-file",
        "digits",
        "--root",
        str(tmp_path / "data"),
        "OPTIM.MAX_EPOCH",
        "1",
        "DATASET.NUM_SHOTS",
        "1",
    ]
    (tmp_path / "data").mkdir()

    def run(*given, check=True):
        done = subprocess.run(
            [sys.executable, "-c", code, *given],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr

    run("train", "--trainer", "MPL", "--output-dir", "first", *words, check=False)  # makes the digits
    run("train", "--trainer", "MPL", "--output-dir", "run", *words)
    image = next((tmp_path / "data").rglob("*.png"))
    run("predict", "run", str(image))
    run("experiment", "status", "digits", "--out", "out")
