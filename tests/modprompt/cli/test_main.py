import importlib
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import modprompt
from modprompt.checks import RENAMED
from modprompt.cli import main
from modprompt.data.readers.digits import Digits
from tests.conftest import ROOT
from tests.modprompt.experiments.conftest import FILE
from tests.modprompt.test_boundaries import FLOORS


@pytest.mark.parametrize(
    ("words", "module", "rest"),
    [
        (["train", "--trainer", "MPL"], "cli.train", ["--trainer", "MPL"]),
        (["prepare", "all", "--check"], "data.prepare.__main__", ["all", "--check"]),
        (["experiment", "run", "demo", "--jobs", "2"], "experiments.running.run", ["demo", "--jobs", "2"]),
        (["doctor"], "hosts.doctor", []),
        (["launch", "train.py", "--help"], "hosts.launch", ["train.py", "--help"]),
    ],
)
def test_words_are_handed_on_and_the_exit_code_back(words, module, rest, monkeypatch):
    calls = []
    command = importlib.import_module(f"modprompt.{module}")
    monkeypatch.setattr(command, "main", lambda given: calls.append((given, sys.argv[0])) or 7)
    assert main.main(words) == 7
    assert calls == [(rest, " ".join(["modprompt", *words[: len(words) - len(rest)]]))]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "error: modprompt: unknown command 'trian'. Did you mean 'train'?"),
        (
            ["experiment"],
            "error: modprompt experiment: the command is missing. Available: choose, report, run, status.",
        ),
        (["experiment", "stats"], "error: modprompt experiment: unknown command 'stats'. Did you mean 'status'?"),
    ],
)
def test_unknown_command_is_one_line(words, message, refused):
    assert refused(*words).startswith(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "run", "a.png", "--epch", "3"], "Unknown flag --epch. Did you mean --epoch?"),
        (["predict", "run", "a.png", "--load-epoch", "3"], "Unknown flag --load-epoch. Did you mean --epoch?"),
        (["predict", "run", "a.png", "--rule", "sofmax"], "argument --rule: unknown value 'sofmax'. Did you mean 'softmax'? Available: sigmoid, softmax. Use --help to list all flags."),
        (["export", "run", "--too", "onnx"], "Unknown flag --too. Did you mean --to?"),
        (["show", "run", "--prot", "1"], "Unknown flag --prot. Did you mean --port?"),
        (["interpret", "run", "--csvv", "a"], "Unknown flag --csvv. Did you mean --csv?"),
        (["push", "run", "a/b", "--licence", "mit"], "Unknown flag --licence. Did you mean --license?"),
        (["pull", "a/b", "c"], "Unexpected argument 'c'. Use --help to list all flags."),
        (["heads", "--feature", "a", "--backbon", "b", "--hed", "c"], "Unknown flag --hed. Did you mean --head?"),
        (["prepare", "all", "--chek"], "Unknown flag --chek. Did you mean --check?"),
        (["experiment", "run", "demo", "--launcher", "slrum"], "argument --launcher: unknown value 'slrum'. Did you mean 'slurm'? Available: local, slurm. Use --help to list all flags."),
        (["experiment", "report", "demo", "--paart", "a"], "Unknown flag --paart. Did you mean --parts?"),
        (["experiment", "choose", "demo", "--optoins", "a"], "Unknown flag --optoins. Did you mean --options?"),
        (["experiment", "status", "demo", "--skip-mising-data"], "Unknown flag --skip-mising-data. Did you mean --skip-missing-data?"),
        (["backbones", "--wrod"], "Unknown flag --wrod. Use --help to list all flags."),
        (["doctor", "--secnds", "1"], "Unknown flag --secnds. Did you mean --seconds?"),
        (["install", "--uninstal", "a", "b"], "Unexpected argument 'b'. Use --help to list all flags."),
        (["launch", "--keep-setings", "train.py"], "Unknown flag --keep-setings. Did you mean --keep-settings?"),
    ],
)  # fmt: skip
def test_wrong_flag_or_choice_gets_the_nearest_without_usage(words, message, refused):
    assert refused(*words) == f"error: {message}"


def complete(monkeypatch, line, completer):
    """What main does where a shell asks to complete a line: the words of argcomplete's command, and the parser."""
    seen = []
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    package = SimpleNamespace(autocomplete=seen.append) if completer else None
    monkeypatch.setitem(sys.modules, "argcomplete", package)
    with pytest.raises(SystemExit):
        main.main([])
    return seen, int(os.environ["_ARGCOMPLETE"])


def test_shell_completes_commands_and_their_flags(monkeypatch):
    ((parser,), start) = complete(monkeypatch, "modprompt tr", True)
    assert ({"train", "experiment"} <= {*parser._actions[0].choices}, start) == (True, 1)
    ((parser,), start) = complete(monkeypatch, "modprompt experiment ", True)
    assert ([*parser._actions[0].choices], start) == (["run", "report", "choose", "status"], 2)
    ((parser,), start) = complete(monkeypatch, "modprompt experiment run --la", True)
    assert ("--launcher" in parser._option_string_actions, start) == (True, 3)
    ((parser,), start) = complete(monkeypatch, "modprompt train --trainer M", True)
    assert "MPL" in parser._option_string_actions["--trainer"].completer(prefix="M")


def test_without_argcomplete_a_completed_command_does_nothing(monkeypatch, capsys):
    assert complete(monkeypatch, "modprompt train ", False)[0] == []
    assert capsys.readouterr() == ("", "")


def test_help_and_version(capsys):
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"modprompt {modprompt.__version__}\n"
    assert main.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(callable(importlib.import_module(command.module).main) for command in main.COMMANDS.values())
    assert all(f"\n  {name} " in text for name in main.COMMANDS)
    assert main.main(["experiment", "--help"]) == 0
    assert "\n  train " not in capsys.readouterr().out
    assert main.main([]) == 2
    assert capsys.readouterr() == ("", text)


def test_help_reports_and_states_bring_no_pytorch(tmp_path):
    (tmp_path / "small.yaml").write_text(FILE)
    ours = ["modprompt", *(f"modprompt.{name}" for name in (*FLOORS[0], "methods.table", "experiments.running.run"))]
    code = (
        "import importlib, sys; from modprompt.cli.main import main\n"
        f"for name in {ours}: importlib.import_module(name)\n"
        "words = ['small.yaml', '--out', 'out']\n"
        "codes = [main(['--help']), main(['--version']), main(['experiment', 'report', *words]), main(['experiment', 'status', *words])]\n"
        "assert codes == [0, 0, 1, 0], codes\n"
        "assert not {'torch', 'dassl', 'clip'} & set(sys.modules)\n"
        "sys.modules['torch'] = None\n"
        "main(['train', '--help'])\n"  # which exits
    )
    environment = {"PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(tmp_path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "8 runs: 8 waiting" in done.stdout
    assert "--trainer MPL --help lists" in done.stdout


@pytest.mark.slow
def test_training_predicting_and_states_bring_no_package_that_they_have_no_need_of(tmp_path):
    """On digits that are made already: scikit-learn has their images, and brings pandas and scipy.stats."""
    heavy = {"pandas", "pydantic", "scipy.stats", "sklearn", "matplotlib", "gradio", "submitit", "open_clip"}
    code = f"""
import sys
from modprompt.cli.main import main
assert main(sys.argv[1:]) == 0
assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)
"""
    data = tmp_path / "data"
    data.mkdir()
    Digits.write(data / "digits")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATA": str(data), "OMP_NUM_THREADS": "1"}
    words = ["--trainer", "MPL", "--output-dir", "run", "--dataset-config-file", "digits", "--root", str(data)]
    for given in (
        ["train", *words, "OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "1"],
        ["predict", "run", str(next(data.rglob("*.png")))],
        ["experiment", "status", "digits", "--out", "out"],
    ):
        program = [sys.executable, "-c", code, *given]
        done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


RENAMED_WORDS = [  # the words of a command, and the new name
    (["train", "--trainer", "MPL", "--its-dassl"], "--host-dassl"),
    (["experiment", "run", "digits", "--present"], "--skip-missing-data"),
    (["experiment", "run", "digits", "--one-line"], "--compact"),
    (["experiment", "run", "digits", "--cold"], "--no-fork"),
    (["train", "--trainer", "MPL", "INPUT.READ_AS", "people"], "INPUT.DECODING"),
    (["active", "--trainer", "MPL", "ACTIVE.ASK", "True"], "ACTIVE.MANUAL_LABELS"),
    (["experiment", "run", "old.yaml", "--dry-run"], "joint_test"),
    (["experiment", "run", "older.yaml", "--dry-run"], "hyperparameters"),
]


@pytest.mark.parametrize(("words", "name"), RENAMED_WORDS, ids=lambda value: value if isinstance(value, str) else "")
def test_renamed_names_are_rejected_with_the_new_name(words, name, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file, line in {"old.yaml": "together: true", "older.yaml": "chosen: tries.json"}.items():
        (tmp_path / file).write_text(FILE + line)
    assert f"Use the new name {name}." in refused(*words)


def test_every_renamed_name_is_tried():
    assert sorted(name for _, name in RENAMED_WORDS) == sorted(RENAMED.values())
