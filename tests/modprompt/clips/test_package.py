import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(
    "before",
    [
        "sys.modules['pkg_resources'] = None",  # an environment without setuptools
        pytest.param(  # setuptools from 70 on
            "import types; sys.modules['pkg_resources'] = types.ModuleType('pkg_resources')", marks=pytest.mark.slow
        ),
    ],
)
def test_clip_imports_whatever_setuptools_there_is(before):
    code = (
        f"import sys; {before}; kept = sys.modules['pkg_resources']\n"
        "from modprompt.clips.package import import_clip\n"
        "assert 'ViT-B/16' in import_clip().available_models()\n"
        "from clip.simple_tokenizer import SimpleTokenizer\n"
        "assert SimpleTokenizer().decode(SimpleTokenizer().encode('a cat')).strip() == 'a cat'\n"
        "assert not hasattr(sys.modules.get('pkg_resources'), 'packaging')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_missing_clip_says_what_to_install(monkeypatch):
    import importlib.util

    from modprompt.clips import package as clip_package

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
        "import sys, importlib.machinery; sys.modules['pkg_resources'] = None\n"
        "class Hook:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'clip':\n"
        "            return importlib.machinery.ModuleSpec('clip', None, origin='/elsewhere/clip/__init__.py')\n"
        "sys.meta_path.insert(0, Hook())\n"
        "from modprompt.clips import package\n"
        f"package.use_folder({str(tmp_path)!r})\n"
        "module = package.import_clip()\n"
        "import clip\n"
        f"assert module.__file__ == {str(own / 'clip.py')!r}\n"
        f"assert hasattr(clip, 'WHERE') == {bool(init)}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_codebases_folder_that_does_not_import_leaves_nothing_behind(tmp_path, monkeypatch):
    from modprompt.clips import package as clip_package

    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "clip.py").touch()
    (tmp_path / "clip" / "__init__.py").write_text("import a_module_that_is_not_there\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "clip"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match="a_module_that_is_not_there"):
        clip_package.use_folder(tmp_path)
    assert "clip" not in sys.modules
