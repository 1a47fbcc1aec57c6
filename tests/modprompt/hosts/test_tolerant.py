"""Trainers of a codebase that cannot be imported, in a run of one of ours by its own program."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.modprompt.hosts.conftest import losses
from tests.modprompt.hosts.stand_in import git, run_in, write_host

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
    words = [sys.executable, "-c", ASK.format(folder=str(folder))]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import not_there", "No module named 'not_there'"),
        ("def f(:\n", "invalid syntax"),
        ("raise SystemExit(3)", "3"),
        ("import trainers.constants\nfrom trainers.constants import LACKS", "cannot import name 'LACKS'"),
        ("1 / 0", "division by zero"),
    ],
)
def test_module_of_trainers_that_fails_is_left_out_in_one_line(source, why, tmp_path):
    done = asked(
        tmp_path, "import trainers.odd, trainers.good", trainers__odd=source, trainers__good="", trainers__constants=""
    )
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


@pytest.mark.parametrize("name", ["datasets", "clip"])
def test_what_readers_and_clip_raise_ends_the_program_also_from_within_a_trainer(name, tmp_path):
    (tmp_path / "dassl").mkdir()
    modules = {f"{name}__model": "1 / 0", "trainers__coop": f"import {name}.model"}
    done = asked(tmp_path, "import trainers.coop", **modules)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_trainers_that_are_no_part_of_it_are_not_tolerated(tmp_path):
    done = asked(tmp_path, "import helpers.odd", helpers__odd="1 / 0")
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(360)
def test_launcher_trains_with_our_losses_and_a_trainer_of_its_own_that_is_left_out_is_not_there(workshop, tmp_path):
    host = write_host(tmp_path / "host")
    (host / "trainers" / "own.py").write_text("import not_shipped\n")
    git(host, "commit", "-qam", "odd")
    start = ("-m", "modprompt.launch", "train.py")
    done = run_in(host, *start, *workshop.words("MPL", "output/run"))
    assert done.returncode == 0, done.stderr
    assert losses(done.stdout) == workshop.losses
    assert done.stdout.count("trainers.own of this codebase is left out: ") == 1
    own = run_in(host, *start, *workshop.words("OWN", "output/own"))
    assert own.returncode == 1
    assert "No module named 'not_shipped'" in own.stderr
