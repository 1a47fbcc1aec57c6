"""Trainers of a codebase that cannot be imported, in a run of one of ours by its own program."""

import pytest

from tests.conftest import ROOT
from tests.warm import run_python

ASK = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from modprompt.hosts.tolerant import tolerated
program = Path({folder!r}, "train.py")
with tolerated(program):
    exec(compile(program.read_text(), str(program), "exec"))
print("went on", *sorted(name for name in sys.modules if name.startswith("trainers.")))
"""


def asked(folder, program, **modules):
    """A program of these modules, by their dotted names with __ for a dot, whose imports are tolerated."""
    for name, source in modules.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(source)
    (folder / "train.py").write_text(program)
    return run_python("-c", ASK.format(folder=str(folder)), folder=ROOT)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def f(:\n", "invalid syntax"),
        ("raise SystemExit(3)", "3"),
        ("import trainers.constants\nfrom trainers.constants import LACKS", "cannot import name 'LACKS'"),
        ("1 / 0", "division by zero"),
    ],
)
def test_module_of_trainers_that_fails_is_left_out_in_one_line(source, why, tmp_path):
    modules = {"trainers__odd": source, "trainers__good": "", "trainers__constants": ""}
    done = asked(tmp_path, "import trainers.odd, trainers.good", **modules)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "left out" in line]
    assert line.startswith("trainers.odd of this codebase is left out: it cannot be imported (")
    assert why in line
    assert "trainers.good" in done.stdout.splitlines()[-1]


def test_one_that_is_not_shipped_is_left_out_where_the_program_asks_for_it_alone(tmp_path):
    source = "try:\n    import trainers.optional\nexcept ImportError:\n    print('does without')"
    done = asked(tmp_path, "import trainers.a\nfrom trainers import lost\nimport trainers.lost_too", trainers__a=source)
    assert done.returncode == 0, done.stderr
    assert "does without" in done.stdout
    assert "trainers.lost of this codebase is left out: it is not there" in done.stdout
    assert "trainers.lost_too of this codebase is left out: it is not there" in done.stdout


@pytest.mark.parametrize("program", ["import trainers.coop", "import datasets.model"])
def test_what_is_no_trainer_ends_the_program_also_from_within_a_trainer(program, tmp_path):
    done = asked(tmp_path, program, datasets__model="1 / 0", trainers__coop="import datasets.model")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
