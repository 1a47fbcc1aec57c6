"""Each room imports those below it alone."""

import ast

from tests.conftest import ROOT

FLOORS = (
    {"errors", "checks", "fields", "programs", "places", "version", "output"},
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
# the import of the first prepares the program of another codebase; the second takes the configuration of that program
ABOVE = {"trainers/mpl.py": "hosts", "trainers/prompt_trainer.py": "hosts"}
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
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        name, words = path.relative_to(PACKAGE).as_posix(), [one.split(".") for one in imported(path)]
        if "stand_in" in name:
            continue
        own = name.split("/")[0].removesuffix(".py")
        beside = ABOVE.get(name, own)
        rooms = {one[1] for one in words if one[0] == "modprompt" and len(one) > 1} & {*FLOOR} - {own, beside}
        wrong += [(name, room) for room in rooms if not FLOOR[room] < max(FLOOR[beside], 1)]
        fronts = {"trainers", "datasets", "experiments", "tools", "tests", "benchmarks", "train"}
        never = fronts if own in WITH_DASSL else fronts | {"dassl", "yacs"}
        wrong += [(name, front) for front in {one[0] for one in words} & never]
    assert wrong == []
