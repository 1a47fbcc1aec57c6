import subprocess
import sys

import pytest
import torch

import modprompt.trainers.all  # noqa: F401 - registers the trainers
from modprompt.errors import UserError
from modprompt.hosts import foreign
from tests.conftest import ROOT


def raised(error, context=None, cause=None, suppressed=False):
    error.__context__, error.__cause__ = context, cause
    error.__suppress_context__ = suppressed
    return error


def test_mistake_is_found_behind_what_a_program_makes_of_it():
    mistake = UserError("N_CTX must be at least 1")
    wrapper = "Training task does not run successfully!"  # as DePT has it
    told = f"N_CTX must be at least 1 ({wrapper})"
    assert foreign.mistake_of(mistake) == "N_CTX must be at least 1"
    assert foreign.mistake_of(raised(Exception(wrapper), context=mistake)) == told
    assert foreign.mistake_of(raised(RuntimeError(wrapper), cause=mistake, suppressed=True)) == told


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("a fault of a program"),
        raised(KeyError("another fault, behind a mistake"), context=UserError("old")),
        raised(RuntimeError("its own"), context=UserError("old"), suppressed=True),
        FloatingPointError("of a program"),
    ],
)
def test_faults_of_programs_are_none(error):
    assert foreign.mistake_of(error) == ""


def test_loss_that_is_not_finite_is_a_mistake_where_we_say_so():
    from modprompt.engine.precision import require_finite

    with pytest.raises(FloatingPointError) as found:
        require_finite(torch.tensor([float("nan")]))
    assert foreign.mistake_of(found.value) == str(found.value)


def test_trainer_that_nobody_has_is_a_mistake(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--trainer", "Mpl"])
    error = ValueError("The requested one is expected to belong to ['MPL'], but got [Mpl] (do not exist)")
    assert foreign.mistake_of(error).startswith("--trainer: unknown name 'Mpl'. Did you mean 'MPL'")
    assert foreign.mistake_of(ValueError("another fault")) == ""


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from modprompt.compat import find
find.add_to_path()
{line}
from modprompt.io import program_words
print(program_words.in_codebase(), sys.argv[1:])
raise RuntimeError("a fault")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import modprompt.trainers.mpl", "True ['A.B', '1']"),
        ("import mine", "False ['A.B', '1', '--keep-settings']"),  # another module's, not the program's
    ],
)
def test_import_line_in_a_program_enters_it_and_faults_of_programs_stay_tracebacks(line, said, tmp_path):
    (tmp_path / "mine.py").write_text("import modprompt.trainers.mpl\n")
    (tmp_path / "train.py").write_text(PROGRAM.format(root=str(ROOT), line=line))
    words = [sys.executable, "train.py", "A.B", "1", "--keep-settings"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "RuntimeError: a fault")
    assert "Traceback" in done.stderr
    assert done.stdout.splitlines()[-1] == said
