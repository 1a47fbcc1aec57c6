import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    "before",
    [
        "sys.modules['pkg_resources'] = None",  # an environment without setuptools
        "import types; sys.modules['pkg_resources'] = types.ModuleType('pkg_resources')",  # setuptools from 70 on
    ],
)
def test_clip_imports_whatever_setuptools_there_is(before):
    code = (
        f"import sys; {before}; kept = sys.modules['pkg_resources']\n"
        "from modprompt.clip_package import import_clip, tokenizer\n"
        "assert 'ViT-B/16' in import_clip().available_models()\n"
        "assert tokenizer().decode(tokenizer().encode('a cat')).strip() == 'a cat'\n"
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
