"""Each room imports those below it alone, and what has no tensors imports no PyTorch."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "modprompt"
GROUND = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__", "doctor", "install", "launch"}
MAY = {  # beside its own parts and the ground, a room imports
    "io": set(),
    "clip": {"io"},
    "engine": {"io", "clip"},
    "methods": {"io", "clip", "engine"},
    "compat": {"io", "clip", "dassl", "yacs"},
    "data": {"io", "clip", "compat", "dassl", "yacs"},
    "trainers": {"io", "clip", "engine", "methods", "compat", "data", "dassl", "yacs"},
    "active": {"io", "clip", "engine", "methods", "compat", "data", "trainers", "dassl", "yacs"},
    "use": {"io", "clip", "engine", "methods"},
    "experiments": {"io", "clip", "engine", "methods", "compat", "data", "trainers", "use", "dassl"},
    "hosts": {"io", "clip", "compat", "trainers", "dassl"},
    "cli": {"io", "clip", "engine", "methods", "compat", "data", "trainers", "use", "experiments"},
    **dict.fromkeys(("doctor", "install", "launch"), {"hosts"}),
    "__main__": {"cli"},
    "__init__": {"clip"},
    **dict.fromkeys(GROUND, set()),
}
BESIDE = {  # files of a room that stand in another
    "methods/heads/run.py": "trainers",
    "methods/search/run.py": "trainers",
    "active/plan.py": "experiments",
    "active/report.py": "experiments",
    "active/command.py": "cli",
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_rooms_import_those_below():
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if "stand_in" in name:
            continue
        own = name.split("/")[0].removesuffix(".py")
        may = {own, *GROUND, *MAY[own], BESIDE.get(name, own), *MAY[BESIDE.get(name, own)]}
        words = [one.split(".") for one in imported(path)]
        rooms = {one[1] for one in words if one[0] == "modprompt"} & {*MAY}
        others = {one[0] for one in words} & {"dassl", "yacs", "tests", "benchmarks", "tools"}
        assert rooms | others <= may, name


@pytest.mark.parametrize(
    "modules",
    [
        ["modprompt", *(f"modprompt.{name}" for name in sorted(GROUND))],
        ["modprompt.cli.flags", "modprompt.methods.table", "modprompt.cli.main"],
        ["modprompt.experiments.running.status", "modprompt.experiments.running.run"],
        ["modprompt.experiments.reporting.report"],
    ],
)
def test_flags_and_reports_are_there_without_pytorch(modules):
    code = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
