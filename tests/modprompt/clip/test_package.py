import importlib.util
import subprocess
import sys

import pytest

from modprompt.clip import package as clip_package
from tests.conftest import ROOT


def test_missing_clip_says_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "clip" else find(name))
    with pytest.raises(ImportError, match="pip install clip-anytorch"):
        clip_package.import_clip()


@pytest.mark.parametrize("init", ["from .clip import *\n", ""])
def test_codebases_folder_is_taken_over_an_import_hook_and_its_init_is_run(init, tmp_path):
    own = tmp_path / "clip"
    own.mkdir()
    (own / "clip.py").write_text("from pkg_resources import packaging\nWHERE = packaging.version.parse('1')\n")
    (own / "__init__.py").write_text(init)
    code = (
        "import importlib.machinery; sys.modules['pkg_resources'] = None\n"
        "class Hook:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'clip':\n"
        "            return importlib.machinery.ModuleSpec('clip', None, origin='/elsewhere/clip/__init__.py')\n"
        "sys.meta_path.insert(0, Hook())\n"
        "from modprompt.clip import package\n"
        f"package.use_folder({str(tmp_path)!r})\n"
        "module = package.import_clip()\n"
        "import clip\n"
        f"assert module.__file__ == {str(own / 'clip.py')!r}\n"
        f"assert hasattr(clip, 'WHERE') == {bool(init)}\n"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_codebases_folder_that_does_not_import_leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "clip.py").touch()
    (tmp_path / "clip" / "__init__.py").write_text("import a_module_that_is_not_there\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "clip"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match="a_module_that_is_not_there"):
        clip_package.use_folder(tmp_path)
    assert "clip" not in sys.modules


CLIP = """
from pkg_resources import packaging
import sys
during = sys.modules["pkg_resources"]
assert packaging.version.parse("2.0") > packaging.version.parse("1.9")
"""


def python(code, path=(), flags=()):
    """What a program says; PATH in front of all else."""
    code = "import sys\n" + "".join(f"sys.path.insert(0, {str(folder)!r})\n" for folder in path) + code
    return subprocess.run([sys.executable, *flags, "-c", code], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path):
    """A `clip` that asks for pkg_resources, as the one on PyPI does."""
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "__init__.py").write_text("from .clip import *\n")
    (tmp_path / "clip" / "clip.py").write_text(CLIP)
    return tmp_path


WITHOUT = "sys.modules['pkg_resources'] = None\n"
EMPTY = "import types; sys.modules['pkg_resources'] = types.ModuleType('pkg_resources')\n"  # setuptools from 70 on


@pytest.mark.parametrize(("setuptools", "statement"), [(WITHOUT, "import clip"), (EMPTY, "import clip.clip")])
def test_plain_import_works_behind_modprompt(folder, setuptools, statement):
    done = python(f"{setuptools}import modprompt\n{statement}", [folder])
    assert done.returncode == 0, done.stderr


def test_a_pkg_resources_that_has_the_name_is_used_as_it_is(folder):
    old = "import types, packaging.version\nold = sys.modules['pkg_resources'] = types.ModuleType('pkg_resources')\n"
    done = python(f"{old}old.packaging = packaging\nimport modprompt, clip\nassert clip.during is old", [folder])
    assert done.returncode == 0, done.stderr


def test_one_that_is_installed_is_run_when_more_is_asked_of_it(folder):
    (folder / "pkg_resources").mkdir()
    (folder / "pkg_resources" / "__init__.py").write_text("print('run')\ndef get_distribution(name): return name\n")
    (folder / "pkg_resources" / "extern.py").touch()
    code = "import modprompt, clip, inspect, pkg_resources.extern\ninspect.getmodule(lambda: 0)\nprint('so far')\n"
    code += "assert [pkg_resources.get_distribution(name) for name in 'ab'] == ['a', 'b']\n"
    done = python(code, [folder])
    assert done.stdout == "so far\nrun\n", done.stderr


def test_importing_modprompt_imports_neither_torch_nor_clip_nor_setuptools():
    heavy = {"torch", "numpy", "clip", "packaging", "setuptools"}
    code = f"print(sorted({heavy!r} & set(sys.modules)), list(vars(sys.modules['pkg_resources'])))"
    done = python(f"import modprompt\n{code}")
    assert done.stdout.startswith("[] [")
    assert "get_distribution" not in done.stdout


def test_error_of_clip_itself_comes_through(folder):
    (folder / "clip" / "clip.py").write_text(f"{CLIP}raise ValueError('its own')\n")
    code = "import modprompt\ntry:\n    import clip\nexcept ValueError as error:\n    print(error)\n"
    done = python(f"{code}assert 'clip' not in sys.modules", [folder])
    assert (done.stdout, done.returncode) == ("its own\n", 0), done.stderr
