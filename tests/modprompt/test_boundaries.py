"""Nothing imports what is above it, no room has a cycle, and all of it parses as Python 3.8 where it goes into hosts."""

import ast

import pytest

from modprompt.hosts import ship
from tests.conftest import ROOT

FLOORS = (
    {"errors", "checks", "fields", "programs", "places", "moved"},
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
DASSL = {"compat", "trainers", "data", "cli", "experiments"}  # rooms that know it
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
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    modules = set(imported(ast.parse(path.read_text())))
    assert not {name.split(".")[0] for name in modules} & {"trainers", "datasets", "experiments", "tools", "train"}
    above = {name for name in modules if room(name) not in (None, own) and FLOOR[room(name)] >= FLOOR[own]}
    above = {name for name in above if not {room(name), own} <= GROUND}
    assert not above or path.name == "check.py"  # not yet
    if own not in DASSL and path.name != "doctor.py":
        assert not {name for name in modules if name.split(".")[0] in ("dassl", "yacs")}


def test_every_room_has_a_floor():
    there = {path.stem for path in PACKAGE.iterdir() if path.name != "__pycache__" and path.suffix in ("", ".py")}
    assert there - {"configs"} <= set(FLOOR)


def test_what_goes_into_hosts_is_python_38():
    for path in ship.package_files():
        if path.suffix == ".py":
            ast.parse(path.read_text(), feature_version=(3, 8))
