import importlib.metadata
import platform

import pytest

import modprompt
from modprompt import places
from modprompt.io import versions as of_runs
from modprompt.io.versions import versions


@pytest.fixture
def no_checkout(monkeypatch):
    monkeypatch.setattr(of_runs, "commit", lambda: "")


def test_what_is_pinned_and_installed_is_named(tmp_path, monkeypatch, no_checkout):
    (tmp_path / "constraints.txt").write_text("# a==comment\nnumpy==0.0.1\nPyYAML==0.0.1\nnot-installed-anywhere==1\n")
    monkeypatch.setattr(places, "constraints", lambda: tmp_path / "constraints.txt")
    assert versions() == {
        "python": platform.python_version(),
        "modprompt": modprompt.__version__,
        "numpy": importlib.metadata.version("numpy"),
        "pyyaml": importlib.metadata.version("PyYAML"),
    }


def test_codebase_without_the_file(tmp_path, monkeypatch, no_checkout):
    monkeypatch.setattr(places, "constraints", lambda: tmp_path / "constraints.txt")
    assert set(versions()) == {"python", "modprompt"}


def test_this_checkout_names_what_decides_numbers():
    assert {"torch", "torchvision", "numpy", "pillow", "clip-anytorch", "scikit-learn", "yacs"} <= set(versions())
