"""The engine knows nothing of Dassl, and its syntax is Python 3.8's."""

import ast

import pytest

from tests.conftest import ROOT

COMMANDS = ("launch.py", "doctor.py")  # they bring the plugin into other codebases
FILES = sorted((ROOT / "modprompt").rglob("*.py"))


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_module_keeps_to_its_side(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    modules = {name.split(".")[0] for name in imported(tree)}
    assert not modules & {"trainers", "datasets", "tools", "compat"}
    if "plugin" not in path.parts and path.name not in COMMANDS:
        assert "dassl" not in modules
        assert not any(name.startswith("modprompt.plugin") for name in imported(tree))
