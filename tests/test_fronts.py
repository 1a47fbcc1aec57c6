"""trainers/, datasets/, experiments/ and train.py hold no code, and nothing of ours needs to win their names."""

import ast
import importlib
import os
import subprocess
import sys
from types import ModuleType

import pytest
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY

from modprompt.cli import train  # noqa: F401 - registers all
from tests.conftest import ROOT

FRONTS = [*ROOT.glob("datasets/**/*.py"), *ROOT.glob("experiments/*.py"), ROOT / "train.py"]
PATH = "sys.path.insert(0, str(Path(__file__).resolve().parent"  # programs are also started from other folders
EXIT = "if __name__ == '__main__':\n    sys.exit(main())"


def named(path):
    return path.relative_to(ROOT).as_posix()


def registered(registry):
    """Names in a registry of Dassl whose class is one of this package's."""
    classes = {name: registry.get(name) for name in registry.registered_names()}
    return {name: found for name, found in classes.items() if found.__module__.startswith("modprompt.")}


@pytest.mark.parametrize("path", FRONTS, ids=named)
def test_front_is_a_docstring_and_an_import(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    others = [one for one in tree.body[1:] if not isinstance(one, (ast.Import, ast.ImportFrom))]
    texts = [ast.unparse(one) for one in others]
    assert [text for text in texts if text != EXIT and not text.startswith(PATH)] == []


def test_every_reader_has_a_front():
    stems = [path.stem for path in (ROOT / "datasets").glob("*.py") if path.stem != "__init__"]
    modules = [importlib.import_module(f"datasets.{stem}") for stem in stems]
    fronts = {name: value for module in modules for name, value in vars(module).items()}
    ours = registered(DATASET_REGISTRY)
    assert len(ours) >= 9
    assert {name: fronts.get(name) for name in ours} == ours


def test_every_trainer_has_a_front_under_the_name_of_the_family_s_file():
    """`import trainers.coop` alone registers it, as the family's train.py does it."""
    fronts = importlib.import_module("trainers")
    modules = [one for one in vars(fronts).values() if isinstance(one, ModuleType)]
    found = {name: value for module in modules for name, value in vars(module).items()}
    ours = registered(TRAINER_REGISTRY)
    assert len(ours) >= 30
    assert {name: found.get(name) for name in ours} == ours


IMPORTS = """
from modprompt.compat.find import add_to_path; add_to_path()
import trainers.coop, trainers.zsclip, trainers.clip_adapter
from trainers.maple import MaPLe
print(trainers.zsclip.ZeroshotCLIP2.__name__, MaPLe.__name__)
"""
HELP = """
import runpy, sys
for module in ("datasets.prepare", "experiments.run", "experiments.report"):
    sys.argv[:] = [module, "--help"]
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as ended:
        print(module, ended.code, file=sys.stderr)
"""
HELPED = "datasets.prepare 0\nexperiments.run 0\nexperiments.report 0\n"


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A folder with packages of the names of ours that are on many machines, as Hugging Face's `datasets` is."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("datasets", "trainers", "experiments", "tools", "compat", "configs"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('a foreign package was imported')\n")
    return folder


def run(words, folder, *path):
    """What a Python program comes to in a folder, with these folders in front of its path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    words = [sys.executable, *map(str, words)]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_fronts_win_in_the_checkout_itself(foreign):
    done = run(["-c", IMPORTS + HELP], ROOT, foreign)
    assert done.stdout.startswith("ZeroshotCLIP2 MaPLe\nusage: "), done.stderr
    assert done.stderr == HELPED


@pytest.mark.slow
@pytest.mark.parametrize("program", [["-m", "modprompt", "train"], [ROOT / "train.py"]], ids=["-m", "train.py"])
def test_training_where_foreign_packages_have_the_names_of_ours(program, foreign, tmp_path):
    words = [*program, "--trainer", "MPL", "OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "1"]
    done = run(words, tmp_path, foreign, ROOT)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "output/digits/shots_1/MPL/glyph/seed1/result.json").is_file()


def test_command_where_foreign_packages_have_the_names_of_ours(foreign, tmp_path):
    done = run(["-m", "modprompt", "experiment", "report", "--help"], tmp_path, foreign, ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: modprompt experiment report ")
