"""The versions that a record names, and the commit of its checkout."""

import importlib.metadata
import platform
import shutil
import subprocess

import pytest

import modprompt
from modprompt import places
from modprompt.io import versions


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder that the package takes for its checkout."""
    (tmp_path / "constraints.txt").write_text("# a==comment\nnumpy==0.0.1\nPyYAML==0.0.1\nnot-installed-anywhere==1\n")
    monkeypatch.setattr(places, "ROOT", tmp_path)
    monkeypatch.setattr(places, "is_checkout", lambda: True)
    versions.versions.cache_clear()
    yield tmp_path
    versions.versions.cache_clear()


def git(folder, *words):
    settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *settings, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="no Git here")
@pytest.mark.parametrize("folder", [".", "other"])
def test_commit_that_is_checked_out(folder, checkout, monkeypatch):
    git(checkout, "init", "-q")
    git(checkout, "commit", "-q", "--allow-empty", "-m", "one")
    git(checkout, "worktree", "add", "-q", "other")
    (checkout / "inside").mkdir()
    monkeypatch.setattr(places, "ROOT", checkout / folder)
    monkeypatch.setenv("GIT_DIR", "elsewhere")
    assert versions.versions()["commit"] == git(checkout, "--git-dir", ".git", "rev-parse", "HEAD").strip()
    monkeypatch.setattr(places, "ROOT", checkout / "inside")  # in another repository
    versions.versions.cache_clear()
    assert "commit" not in versions.versions()


@pytest.mark.parametrize("path", [None, "", "no git"])
def test_no_commit_where_nothing_says_one(path, checkout, monkeypatch):
    if path is not None:
        (checkout / ".git").mkdir()
    if path:
        monkeypatch.setenv("PATH", str(checkout))
    assert versions.versions() == {
        "python": platform.python_version(),
        "modprompt": modprompt.__version__,
        "numpy": importlib.metadata.version("numpy"),
        "pyyaml": importlib.metadata.version("PyYAML"),
    }


def test_this_checkout_names_what_decides_numbers():
    named = {"torch", "torchvision", "numpy", "pillow", "clip-anytorch", "scikit-learn", "yacs"}
    assert named <= set(versions.versions())
