"""Prompts go to a hub as one commit and come back as weights; what is refused leaves nothing."""

import json
import os
from pathlib import Path

import pytest
import torch

from modprompt.errors import UserError
from modprompt.io.checkpoint import checkpoint_at
from modprompt.io.records import KEY
from modprompt.use import sharing
from modprompt.use.trained import open_trained
from tests.modprompt.use.made import model_of, write_run

REPO = "owner/prompts"


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", model_of("MPL"))


@pytest.fixture
def layout(tmp_path):
    """Makes the folder to upload, with a card: of one run, or of several, {its folder there: run}."""

    def of(*run, **runs):
        folder = tmp_path / f"layout {len(list(tmp_path.glob('layout*')))}"
        folder.mkdir()
        (folder / sharing.CARD).write_text("# card\n")
        for place, one in [*((".", one) for one in run), *runs.items()]:
            sharing.lay_out(Path(checkpoint_at(one)), folder / place.replace("_", "/"))
        return folder

    return of


def logits(folder):
    with torch.no_grad():
        return open_trained(folder, device="cpu").model(torch.ones(1, 3, 32, 32))


def refused(act, *args, **more):
    """What is said, in one line."""
    with pytest.raises(UserError) as told:
        act(*args, **more)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_what_was_pushed_comes_back_and_nothing_else(hub, run, layout, tmp_path):
    commit = sharing.push(REPO, layout(run))
    assert hub.commits == [commit]
    foreign = ("evil.py", "a/b.py", "model.pth.tar-5", "a/model/x", "../a/model.pth", ".a/model", "result.json")
    hub.files[commit].update({name: b"1" for name in foreign})
    target = tmp_path / "theirs"
    assert sharing.pull(REPO, target) == (target, commit, [target])
    assert torch.equal(logits(target), logits(run))
    names = sorted(path.name for path in target.rglob("*") if path.is_file())
    assert names == ["README.md", "checkpoint", "model.pth.tar-1", "pulled.json"]
    assert not [asked for asked in hub.asked if "evil" in asked]
    origin = json.loads((target / sharing.ORIGIN).read_text())
    assert (origin["repo"], origin["commit"], len(origin["sha256"])) == (REPO, commit, 3)


@pytest.mark.slow
def test_a_revision_is_pinned(hub, run, layout, tmp_path):
    first = sharing.push(REPO, layout(a_seed1=run))
    other = write_run(tmp_path / "other", model_of("CoOp"))
    with pytest.raises(UserError, match=f"{REPO} has weights already .*--replace them"):
        sharing.push(REPO, layout(other))
    assert hub.commits == [first]
    second = sharing.push(REPO, layout(a_seed1=other, b_seed1=run), replace=True)
    assert sharing.pull(f"{REPO}@{first}", tmp_path / "old")[1] == first
    folder, commit, runs = sharing.pull(f"hf-hub:{REPO}", tmp_path / "new")
    assert (commit, runs) == (second, [folder / "a" / "seed1", folder / "b" / "seed1"])
    assert torch.equal(logits(tmp_path / "old" / "a" / "seed1"), logits(run))
    assert torch.equal(logits(runs[0]), logits(other))


class Runs:
    """What a pickle may ask for: a program."""

    def __reduce__(self):
        return os.system, ("touch pulled_code_was_run",)


def test_weights_that_are_code_are_refused_and_nothing_is_left(hub, run, layout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commit = sharing.push(REPO, layout(run))
    (name,) = (name for name in hub.files[commit] if "model.pth" in name)
    torch.save({"state_dict": {}, "epoch": Runs(), KEY: {}}, tmp_path / "evil")
    for content in ((tmp_path / "evil").read_bytes(), b"", hub.files[commit][name][:1000]):
        hub.files[commit][name] = content
        before = set(tmp_path.iterdir())
        refused(sharing.pull, REPO)
        assert set(tmp_path.iterdir()) - before <= {tmp_path / "cache"}
        for path in (tmp_path / "cache").rglob("*"):  # the same commit: the cache keeps what it has
            if path.is_file():
                path.unlink()


def test_the_target_stays_as_it_is(hub, run, layout, tmp_path):
    sharing.push(REPO, layout(run))
    assert "run exists already: give another folder" in refused(sharing.pull, REPO, run)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=f"File exists: '{tmp_path}/file'"):
        sharing.pull(REPO, tmp_path / "file" / "inner")
    assert not list(tmp_path.glob(".*"))


def test_without_a_network_the_cache_serves(hub, run, layout, tmp_path):
    commit = sharing.push(REPO, layout(run))
    sharing.pull(REPO, tmp_path / "one")
    hub.close()
    assert sharing.pull(f"{REPO}@{commit}", tmp_path / "two")[1] == commit
    with pytest.warns(UserWarning, match=f"^commit {commit} of the cache was used"):
        assert sharing.pull(REPO, tmp_path / "three")[1] == commit
    assert "owner/prompts: the hub cannot be asked" in refused(sharing.push, REPO, layout(run))
    said = refused(sharing.pull, "owner/other", tmp_path / "four")
    assert "or download it by hand: modprompt reads the folder" in said


@pytest.mark.slow
def test_a_push_that_fails_is_one_line_without_the_token(hub, run, layout, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between its attempts
    for part, status, what in (
        ("/api/repos/create", 403, "refuses"),
        ("/preupload/", 500, "cannot be asked"),
        ("/commit/", 500, "cannot be asked"),
    ):
        hub.refused = (part, status, b'{"error": "not today, hf_secretsecretsecret"}')
        said = refused(sharing.push, REPO, layout(run))
        assert said.startswith(f"{REPO}: the hub {what} (")
        assert "secret" not in said
        assert hub.commits == []
    hub.refused = ("nowhere", 500, b"")
    for token in ("hf_wrongwrong", "hf_with a space\u00e9"):
        monkeypatch.setenv("HF_TOKEN", token)
        assert token[3:] not in refused(sharing.push, REPO, layout(run))


def test_repositories_that_are_none_of_ours_or_public(hub, run, layout, tmp_path):
    target = tmp_path / "theirs"
    assert "the hub refuses (404" in refused(sharing.pull, REPO, target)
    sharing.push(REPO, layout())
    assert "it has no checkpoints of modprompt" in refused(sharing.pull, REPO, target)
    assert "the hub refuses (404" in refused(sharing.pull, f"{REPO}@nosuch", target)
    for name in ("prompts", "a/b/c", "owner/x@", ""):
        assert "does not name a repository of a hub" in refused(sharing.pull, name, target)
    assert "leave out @v1" in refused(sharing.push, f"{REPO}@v1", layout(run))
    assert "exists already and is public" in refused(sharing.push, REPO, layout(run), private=True)
    hub.private = True
    assert sharing.push(REPO, layout(run), private=True)


def test_a_file_that_does_not_say_what_it_is_is_not_shared(tmp_path):
    torch.save({"state_dict": {"ctx": torch.ones(2, 4)}, "epoch": 2}, tmp_path / "family.pth")
    with pytest.raises(UserError, match="family.pth does not say what it is"):
        sharing.lay_out(tmp_path / "family.pth", tmp_path / "to")
    assert not (tmp_path / "to").exists()
