import subprocess
import sys

import pytest

from modprompt.errors import UserError
from modprompt.trainers import foreign
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--trainer", "MPL"], "MPL"),
        (["--trainer=CoOp", "--seed", "1"], "CoOp"),
        (["--trainer", "MMRL", "TASK", "B2N", "TRAINER.NAME", "MPL"], "MPL"),
        (["--seed", "1"], ""),
    ],
)
def test_trainer_that_words_ask_for(words, name):
    assert foreign.trainer_of(words) == name


def test_mistake_is_found_behind_what_a_program_makes_of_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--trainer", "MPL"])
    mistake = UserError("N_CTX must be at least 1")
    raised = Exception("Training task does not run successfully!")  # as DePT has it
    raised.__context__ = mistake
    assert foreign.mistake_of(raised) is mistake
    assert foreign.mistake_of(RuntimeError("a fault of a program")) is None
    ring = RuntimeError("one")
    ring.__context__ = other = RuntimeError("another")
    other.__context__ = ring
    assert foreign.mistake_of(ring) is None


def test_loss_that_is_not_finite_is_a_mistake_of_our_trainers_alone(monkeypatch):
    error = FloatingPointError("loss is nan")
    monkeypatch.setattr(sys, "argv", ["train.py", "--trainer", "MPL"])
    assert foreign.mistake_of(error) is error
    monkeypatch.setattr(sys, "argv", ["train.py", "--trainer", "NobodysTrainer"])
    assert foreign.mistake_of(error) is None


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from modprompt.compat import find
find.add_to_path()
{line}
from modprompt.errors import UserError
from modprompt.trainers import merging
print(merging.is_watched(), sys.argv[1:])
raise {error}
"""


def run(tmp_path, line, error, *words):
    (tmp_path / "train.py").write_text(PROGRAM.format(root=str(ROOT), line=line, error=error))
    command = [sys.executable, "train.py", *words]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)


def test_import_line_enters_a_program(tmp_path):
    line = "import modprompt.trainers.mpl"
    done = run(tmp_path, line, "UserError('no such\\n  thing')", "--trainer", "MPL", "A.B", "1", "--keep-settings")
    assert (done.returncode, done.stderr) == (2, "error: no such thing\n")
    assert done.stdout.splitlines()[-1] == "True ['--trainer', 'MPL', 'A.B', '1']"


def test_faults_of_a_program_stay_tracebacks(tmp_path):
    done = run(tmp_path, "import modprompt.trainers.mpl", "RuntimeError('a fault')", "--trainer", "MPL")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.rstrip().endswith("RuntimeError: a fault")


def test_module_that_imports_the_trainer_enters_nothing(tmp_path):
    (tmp_path / "mine.py").write_text("import modprompt.trainers.mpl\n")
    done = run(tmp_path, "import mine", "UserError('no such thing')", "--keep-settings")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stdout.splitlines()[-1] == "False ['--keep-settings']"
