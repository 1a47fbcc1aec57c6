"""What goes into a codebase is what its parts import, and nothing of this project's own programs."""

import ast

import pytest

import modprompt
from modprompt.hosts import ship
from tests.conftest import ROOT

PACKAGE = ROOT / "modprompt"
ENTRIES = ("modprompt.trainers.mpl", "modprompt.launch", "modprompt.install", "modprompt.doctor")
SHIPPED = {path for path in ship.package_files() if path.suffix == ".py"}


def file_of(name):
    """The file of a module of this package; None if the name is none."""
    at = ROOT.joinpath(*name.split("."))
    return next((path for path in (at.with_suffix(".py"), at / "__init__.py") if path.is_file()), None)


def with_parents(name):
    """The files that importing a dotted name runs, from the package's own on."""
    parts = name.split(".")
    found = (file_of(".".join(parts[:end])) for end in range(1, len(parts) + 1))
    return {path for path in found if path}


def imported_names(tree, own):
    """All dotted names of this package that a program imports, anywhere in it, by statement or import_module(TEXT)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join([*own.split(".")[: -node.level], *filter(None, [node.module])]) if node.level else node.module
            )
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            yield from (word.value for word in node.args[:1] if isinstance(word, ast.Constant))


def imports_of(path):
    """Files of this package that a file of it imports."""
    own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    names = imported_names(ast.parse(path.read_text()), own)
    return set().union(*(with_parents(name) for name in names if name.split(".")[0] == "modprompt"))


def reached(paths):
    """The files and all that they import, directly or not."""
    found, open_ends = set(), set(paths)
    while open_ends:
        found |= open_ends
        open_ends = set().union(*map(imports_of, open_ends)) - found
    return found


def names(paths):
    return sorted(path.relative_to(PACKAGE).as_posix() for path in paths)


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_an_entry_imports_goes_along(entry):
    found = reached(with_parents(entry))
    assert len(found) > 5
    assert names(found - SHIPPED) == []


def test_whatever_goes_along_finds_what_it_imports():
    assert names(reached(SHIPPED) - SHIPPED) == []


def test_no_room_of_this_projects_own_programs_goes_along():
    inside = [path.relative_to(PACKAGE) for path in ship.package_files()]
    assert not {path.parts[0] for path in inside} & {"cli", "data", "experiments", "configs", "__main__.py"}
    assert not [path for path in inside if "stand_in" in path.parts or "__pycache__" in path.parts]
    assert not {"trainers/all.py", "trainers/run.py"} & {*map(str, inside)}


def test_every_name_that_the_package_promises_is_there():
    there = {".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in SHIPPED}
    assert modprompt._LAZY
    assert set(modprompt._LAZY.values()) <= there


def test_a_file_that_is_added_to_a_room_goes_along_and_a_compiled_one_does_not(tmp_path, monkeypatch):
    for name in ("fields.py", "methods/table.py", "trainers/run.py", "methods/__pycache__/table.pyc", "cli/main.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "__main__.py").touch()
    monkeypatch.setattr(ship, "PACKAGE", tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in ship.package_files()] == ["fields.py", "methods/table.py"]


def test_follower_of_imports_sees_all_kinds_of_them():
    tree = ast.parse(
        "import modprompt.a\nif TYPE_CHECKING:\n    from modprompt.b import c\n"
        "def f():\n    from . import d\n    from .e import g\n    importlib.import_module('modprompt.h')\n"
    )
    assert set(imported_names(tree, "modprompt.room.file")) == {
        "modprompt.a", "modprompt.b.c", "modprompt.room.d", "modprompt.room.e.g", "modprompt.h",
    }  # fmt: skip
