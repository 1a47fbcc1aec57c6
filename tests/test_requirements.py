"""One list of requirements: pyproject.toml's. The others follow it, and it names whatever is imported."""

import ast
import importlib.metadata
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

tomllib = pytest.importorskip("tomllib")  # of Python 3.11
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
OPTIONAL = {"argcomplete": ["argcomplete"]}  # what need not be installed here, with its distribution
NEITHER = {"modprompt", "dassl", "pkg_resources"}  # the small Dassl is ours; the last is stood in for


def lines(name):
    return [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]


def names(requirements):
    return {canonicalize_name(Requirement(one).name) for one in requirements}


def all_lists():
    listed = [*PROJECT["dependencies"], *(one for extra in EXTRAS.values() for one in extra)]
    return [one for one in listed if Requirement(one).name != "modprompt"]


def test_requirements_txt_is_all_lists_in_one():
    assert sorted(lines("requirements.txt")) == sorted(set(all_lists()))


def pins():
    found = (line.partition("==") for line in lines("constraints.txt"))
    return {canonicalize_name(name): version for name, _, version in found}


def test_constraints_have_one_version_that_fits_for_every_requirement():
    pinned = pins()
    assert len(pinned) == len(lines("constraints.txt"))
    required = [*map(Requirement, all_lists())]
    assert [one for one in required if not one.specifier.contains(pinned[canonicalize_name(one.name)])] == []


def wishes(name, version):
    """What an installed package of this version requires here, without its extras."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return []
    required = map(Requirement, found.requires or ()) if found.version.partition("+")[0] == version else ()
    return [one for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]


def test_constraints_fit_each_other():
    pinned = pins()
    asked = {name: wishes(name, version) for name, version in pinned.items()}
    assert sum(map(bool, asked.values())) > len(pinned) / 4  # of the versions that are installed
    rows = [(name, one, pinned.get(canonicalize_name(one.name))) for name in asked for one in asked[name]]
    assert [row for row in rows if row[2] is not None and not row[1].specifier.contains(row[2])] == []


def imported(folder):
    """Third-party distributions whose modules the files of a folder import, also late and by name."""
    modules = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module.split(".")[0])
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
                modules |= {word.value.split(".")[0] for word in node.args if isinstance(word, ast.Constant)}
    found = importlib.metadata.packages_distributions()
    names = modules - NEITHER - set(sys.stdlib_module_names)
    return {canonicalize_name(one) for name in names for one in found.get(name) or OPTIONAL[name]}


def test_whatever_the_package_imports_is_required():
    needed = imported(ROOT / "modprompt")
    assert {"torch", "clip-anytorch", "pyyaml", "scikit-learn"} <= needed & names(PROJECT["dependencies"])
    extras = ("completion", "data", "experiments", "export", "hub", "show", "towers")
    assert needed <= names(PROJECT["dependencies"]).union(*(names(EXTRAS[one]) for one in extras))


@pytest.mark.slow
def test_methods_and_their_runs_need_no_extra():
    rooms = [
        path
        for path in (ROOT / "modprompt").iterdir()
        if path.is_dir() and path.name not in ("data", "experiments", "use")
    ]
    # to download something, to draw where it is there
    late = names(EXTRAS["hub"]) | names(EXTRAS["towers"]) | names(EXTRAS["completion"]) | {"matplotlib"}
    assert {one for room in rooms for one in imported(room)} <= names(PROJECT["dependencies"]) | late
    of_use = names(EXTRAS["export"]) | names(EXTRAS["show"])  # of commands of their own, which say so
    assert imported(ROOT / "modprompt" / "use") <= names(PROJECT["dependencies"]) | late | of_use
