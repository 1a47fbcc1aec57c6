"""Nothing imports what is above it, no room has a cycle, and all of it parses as Python 3.8 where it goes into hosts."""

import ast
import re
import subprocess
import sys

import pytest

from modprompt.hosts import ship
from tests.conftest import ROOT

FLOORS = (
    {"errors", "checks", "programs", "places", "moved"},
    {"storage"},
    {"clips", "runs"},
    {"engine"},
    {"learners", "training"},
    {"methods"},
    {"use", "compat"},
    {"trainers", "data"},
    {"experiments", "hosts"},
    {"cli"},
    {"__init__", "launch", "install", "doctor", "__main__"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
DASSL = {"compat", "trainers", "data"}  # rooms that know it
OTHERS_WITH_DASSL = {"hosts/doctor.py", "experiments/plan/check.py", "experiments/plan/present.py"}
MEETING = {"trainers/run.py": {"data"}}  # where trainers and readers, of one floor, come together
PACKAGE = ROOT / "modprompt"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "stand_in" not in path.parts)


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


GROUND = FLOORS[0]


def room(module):
    """The room of a dotted name in the package; a name of the package itself is none."""
    parts = module.split(".")
    return parts[1] if parts[0] == "modprompt" and len(parts) > 1 and parts[1] in FLOOR else None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path):
    name = path.relative_to(PACKAGE).as_posix()
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    modules = set(imported(ast.parse(path.read_text())))
    assert not {name.split(".")[0] for name in modules} & {"trainers", "datasets", "experiments", "tools", "train"}
    others = {module for module in modules if room(module) not in (None, own, *MEETING.get(name, ()))}
    above = {module for module in others if FLOOR[room(module)] >= FLOOR[own]}
    assert not {module for module in above if not {room(module), own} <= GROUND}
    if own not in DASSL and name not in OTHERS_WITH_DASSL:
        assert not {module for module in modules if module.split(".")[0] in ("dassl", "yacs")}


def test_programs_of_the_checkout_and_its_tests_ask_the_parts_and_not_the_program():
    """modprompt.cli.train is imported by train.py, and by tests, which run it whole and take nothing but main."""
    for folder in ("lpclip", "tools", "benchmarks", "experiments", "trainers", "datasets", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            of_it = {name for name in imported(ast.parse(text)) if name and name.startswith("modprompt.cli.train")}
            assert folder == "tests" or not of_it, path
            assert not of_it or set(re.findall(r"\btrain\.([a-z_]+)\(", text)) <= {"main"}, path


def test_light_parts_need_no_torch():
    """Flags, settings and the end of a program are there at once: --help waits for nothing."""
    text = "import sys, modprompt.cli.flags, modprompt.runs.same, modprompt.programs\n"
    text += "assert not {'torch', 'dassl', 'yacs', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", text], check=True, cwd=ROOT)


def test_every_room_has_a_floor():
    there = {path.stem for path in PACKAGE.iterdir() if path.name != "__pycache__" and path.suffix in ("", ".py")}
    assert there - {"configs"} <= set(FLOOR)


def test_what_goes_into_hosts_is_python_38():
    for path in ship.package_files():
        if path.suffix == ".py":
            ast.parse(path.read_text(), feature_version=(3, 8))
