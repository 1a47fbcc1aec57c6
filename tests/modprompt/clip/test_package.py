import importlib.util
import subprocess
import sys

import pytest

from modprompt.clip import package as clip_package
from modprompt.clip.package import packaging_in_pkg_resources
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


@pytest.mark.parametrize(
    ("setuptools", "statement"),
    [(WITHOUT, "import clip"), (EMPTY, "from clip import clip"), (WITHOUT, "import clip.clip")],
)
def test_plain_import_works_behind_modprompt_and_leaves_nothing(folder, setuptools, statement):
    assert "pkg_resources" in python(f"{setuptools}{statement}", [folder]).stderr  # or this shows nothing
    done = python(
        f"{setuptools}kept = sys.modules['pkg_resources']\nimport modprompt\n{statement}\n"
        "assert sys.modules['pkg_resources'] is kept and not hasattr(kept, 'packaging')\n"
        "module = sys.modules['clip.clip']\n"
        "assert type(module.__loader__).__name__ == type(module.__spec__.loader).__name__ == 'SourceFileLoader'\n"
        "import inspect; assert 'pkg_resources' in inspect.getsource(module)\n",
        [folder],
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_installed_clip_imports_behind_modprompt_alone():
    done = python(
        f"{WITHOUT}import modprompt\nassert 'torch' not in sys.modules\nimport clip\nclip.available_models()\n"
        "assert sys.modules['pkg_resources'] is None"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(importlib.util.find_spec("pkg_resources") is not None, reason="this setuptools has pkg_resources")
def test_nothing_stays_where_there_is_no_pkg_resources(folder):
    assert "No module named 'pkg_resources'" in python("import clip", [folder]).stderr
    code = "import modprompt, clip\nassert 'pkg_resources' not in sys.modules\nprint('so far')\nimport pkg_resources"
    done = python(code, [folder])
    assert done.stdout == "so far\n"
    assert "No module named 'pkg_resources'" in done.stderr


def test_a_pkg_resources_that_has_the_name_is_used_as_it_is(folder):
    old = "import types, packaging.version\nold = sys.modules['pkg_resources'] = types.ModuleType('pkg_resources')\n"
    done = python(f"{old}old.packaging = packaging\nimport modprompt, clip\nassert clip.during is old", [folder])
    assert done.returncode == 0, done.stderr


def test_importing_modprompt_imports_neither_torch_nor_clip_nor_setuptools():
    heavy = {"torch", "numpy", "clip", "pkg_resources", "packaging", "setuptools"}
    done = python(f"import modprompt\nprint(sorted({heavy!r} & set(sys.modules)))")
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ["other", "clip"])
def test_whatever_does_not_name_it_is_found_as_without_us(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("import sys\nLOADER = type(__spec__.loader)\n")
    code = f"import modprompt, {name}\nfrom importlib.machinery import SourceFileLoader\n"
    done = python(f"{code}assert {name}.LOADER is SourceFileLoader and 'pkg_resources' not in sys.modules", [tmp_path])
    assert done.returncode == 0, done.stderr


def test_other_modules_get_no_stand_in(tmp_path):
    (tmp_path / "other.py").write_text("import pkg_resources\n")
    done = python(f"{WITHOUT}import modprompt, other", [tmp_path])
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_error_of_clip_itself_comes_through_and_nothing_stays(folder):
    (folder / "clip" / "clip.py").write_text(f"{CLIP}raise ValueError('its own')\n")
    code = "import modprompt\ntry:\n    import clip\nexcept ValueError as error:\n    print(error)\n"
    done = python(f"{WITHOUT}{code}assert sys.modules['pkg_resources'] is None and 'clip' not in sys.modules", [folder])
    assert (done.stdout, done.returncode) == ("its own\n", 0), done.stderr


def test_entered_once(folder):
    code = "import modprompt; from modprompt.clip import package as mend\nbefore = list(sys.meta_path)\n"
    done = python(
        f"{code}mend.mend_imports()\nassert sys.meta_path == before\nimport importlib; importlib.reload(mend).mend_imports()\n"
        "assert sys.meta_path == before",
        [folder],
    )
    assert done.returncode == 0, done.stderr


def test_stand_in_is_taken_away_when_its_block_fails():
    before = sys.modules.get("pkg_resources")

    def fail():
        with packaging_in_pkg_resources():
            from pkg_resources import packaging

            raise KeyError(packaging.version.parse("1"))

    with pytest.raises(KeyError):
        fail()
    assert sys.modules.get("pkg_resources") is before
