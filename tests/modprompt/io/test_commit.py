"""The commit of a checkout, by Git's own files."""

import shutil
import subprocess

import pytest

from modprompt import places
from modprompt.io import versions

COMMIT = "0123456789" * 4


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder that the package takes for its checkout."""
    (tmp_path / "constraints.txt").write_text("")
    monkeypatch.setattr(places, "ROOT", tmp_path)
    monkeypatch.setattr(places, "is_checkout", lambda: True)
    versions.commit.cache_clear()
    yield tmp_path
    versions.commit.cache_clear()


@pytest.mark.parametrize("packed", [False, True])
def test_branch_that_is_checked_out(checkout, packed):
    git = checkout / ".git"
    (git / "refs/heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    if packed:
        (git / "packed-refs").write_text(f"# pack-refs\n{COMMIT} refs/heads/main\n")
    else:
        (git / "refs/heads/main").write_text(f"{COMMIT}\n")
    assert versions.commit() == versions.versions()["commit"] == COMMIT


@pytest.mark.skipif(shutil.which("git") is None, reason="no Git here")
def test_further_working_tree(checkout, monkeypatch):
    def git(*words):
        settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *settings, *words], cwd=checkout, check=True, capture_output=True, text=True)

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "one")
    git("worktree", "add", "-q", "other")
    (checkout / "other/constraints.txt").write_text("")
    monkeypatch.setattr(places, "ROOT", checkout / "other")
    assert versions.commit() == git("rev-parse", "HEAD").stdout.strip()


@pytest.mark.parametrize("head", [None, "", "ref: refs/heads/none\n", "not a commit\n", b"\xff\xfe"])
def test_no_commit_where_nothing_says_one(checkout, head):
    if head is not None:
        (checkout / ".git").mkdir()
        (checkout / ".git/HEAD").write_bytes(head if isinstance(head, bytes) else head.encode())
    assert versions.commit() == ""
    assert "commit" not in versions.versions()
