"""Each room imports those below it alone."""

import ast

from tests.conftest import ROOT

FLOORS = (
    {"errors", "checks", "fields", "programs", "places", "version"},
    {"io"},
    {"clip"},
    {"engine"},
    {"methods"},
    {"compat"},
    {"data"},
    {"trainers"},
    {"active"},
    {"use"},
    {"experiments", "hosts"},
    {"cli"},
    {"__init__", "launch", "install", "doctor", "python_help", "__main__"},
)
ABOVE = {  # files of a room that stand beside another
    "methods/search/run.py": "trainers",
    "methods/heads/run.py": "trainers",
    "active/plan.py": "experiments",
    "active/report.py": "experiments",
    "active/command.py": "cli",
    "trainers/mpl.py": "hosts",  # whose import prepares a codebase's program
}
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
WITH_DASSL = {"compat", "data", "trainers", "active", "experiments", "hosts"}
PACKAGE = ROOT / "modprompt"


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_rooms_import_those_below():
    for path in PACKAGE.rglob("*.py"):
        name, words = path.relative_to(PACKAGE).as_posix(), [one.split(".") for one in imported(path)]
        if "stand_in" in name:
            continue
        own = name.split("/")[0].removesuffix(".py")
        beside = ABOVE.get(name, own)
        for room in {one[1] for one in words if one[0] == "modprompt" and len(one) > 1} & {*FLOOR} - {own, beside}:
            assert FLOOR[room] < FLOOR[beside] or FLOOR[room] == FLOOR[beside] == 0, (name, room)
        fronts = {"trainers", "datasets", "experiments", "tools", "tests", "benchmarks", "train"}
        never = fronts if own in WITH_DASSL else fronts | {"dassl", "yacs"}
        assert not {one[0] for one in words} & never, name
