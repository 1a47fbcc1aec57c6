"""Every import path of the version before gives what is at the new one, with a warning; nothing else is found there."""

import ast
import importlib

import pytest

from modprompt.moved import MOVED
from tests.conftest import ROOT


def public(module):
    """The names that a module of this package defines at its top."""
    at = ROOT.joinpath(*module.split("."))
    path = at / "__init__.py" if at.is_dir() else at.with_suffix(".py")
    tops = ast.parse(path.read_text()).body
    names = [one.name for one in tops if isinstance(one, (ast.FunctionDef, ast.ClassDef))]
    names += [one.targets[0].id for one in tops if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)]
    return [name for name in names if not name.startswith("_")]


@pytest.mark.parametrize("old", MOVED)
def test_old_path_gives_what_is_at_the_new_one(old):
    module = importlib.import_module(old)
    names = [(name, place) for place in MOVED[old] for name in public(place)]
    assert names or old == "modprompt.plugin"
    for name, place in names:
        with pytest.warns(DeprecationWarning, match=f"{old}.{name} is .* now; the old name goes with the next version"):
            found = getattr(module, name)
        places = [one for one in MOVED[old] if hasattr(importlib.import_module(one), name)]
        assert found is getattr(importlib.import_module(places[0]), name), place
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing  # noqa: B018


def test_new_places_are_not_old_paths():
    assert not {new for places in MOVED.values() for new in places} & set(MOVED)


def test_a_path_that_was_never_there_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("modprompt.never")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("modprompt.plugin.never")
