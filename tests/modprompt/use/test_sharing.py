import json
import os
from pathlib import Path

import pytest
import torch

import modprompt
from modprompt.errors import UserError
from modprompt.io import checkpoint
from modprompt.io.checkpoint import checkpoint_at
from modprompt.io.records import KEY
from modprompt.use import sharing
from modprompt.use.trained import open_trained
from tests.modprompt.use.made import model_of, write_run

REPO = "owner/prompts"


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", model_of(modprompt.MPL))


def files_of(run, below=""):
    path = Path(checkpoint_at(run))
    return sharing.files_of(checkpoint.read(path), path, below)


def logits(folder):
    with torch.no_grad():
        return open_trained(folder, device="cpu").model(torch.ones(1, 3, 32, 32))


def test_what_was_pushed_comes_back(hub, run, tmp_path):
    commit = sharing.push(REPO, {sharing.CARD: b"# card\n", **files_of(run)})
    assert hub.commits == [commit]
    found = sharing.pull(REPO, tmp_path / "theirs")
    assert (found.commit, found.runs) == (commit, [tmp_path / "theirs"])
    assert torch.equal(logits(tmp_path / "theirs"), logits(run))
    assert (tmp_path / "theirs" / "README.md").read_text() == "# card\n"
    origin = json.loads((tmp_path / "theirs" / sharing.ORIGIN).read_text())
    assert (origin["repo"], origin["commit"], len(origin["sha256"])) == (REPO, commit, 3)


@pytest.mark.slow
def test_a_revision_is_pinned(hub, run, tmp_path):
    first = sharing.push(REPO, files_of(run))
    other = write_run(tmp_path / "other", model_of(modprompt.CoOp))
    with pytest.raises(UserError, match=f"{REPO} has weights already .*--replace them"):
        sharing.push(REPO, files_of(other))
    assert hub.commits == [first]
    second = sharing.push(REPO, files_of(other), replace=True)
    assert not [name for name in hub.files[second] if name in hub.files[first] and sharing.is_weights(name)]
    assert sharing.pull(f"{REPO}@{first}", tmp_path / "old").commit == first
    assert sharing.pull(f"hf-hub:{REPO}", tmp_path / "new").commit == second
    assert torch.equal(logits(tmp_path / "old"), logits(run))
    assert torch.equal(logits(tmp_path / "new"), logits(other))


@pytest.mark.slow
def test_several_runs_keep_their_folders(hub, run, tmp_path):
    other = write_run(tmp_path / "other", model_of(modprompt.VPT))
    sharing.push(REPO, {**files_of(run, "a/seed1"), **files_of(other, "b/seed1")})
    found = sharing.pull(REPO, tmp_path / "theirs")
    assert found.runs == [tmp_path / "theirs" / "a" / "seed1", tmp_path / "theirs" / "b" / "seed1"]
    assert torch.equal(logits(found.runs[1]), logits(other))


def test_only_weights_and_the_card_are_taken(hub, run, tmp_path):
    commit = sharing.push(REPO, files_of(run))
    hub.files[commit].update(
        {"evil.py": b"1", "a/b.py": b"1", "model.py": b"1", "../model.pth": b"1", "result.json": b"1"}
    )
    sharing.pull(REPO, tmp_path / "theirs")
    names = sorted(path.name for path in (tmp_path / "theirs").rglob("*") if path.is_file())
    assert names == ["checkpoint", "model.pth.tar-1", "pulled.json"]
    assert not [asked for asked in hub.asked if "evil" in asked or "model.py" in asked]


class Runs:
    """What a pickle may ask for: a program."""

    def __reduce__(self):
        return os.system, ("touch pulled_code_was_run",)


def test_weights_that_are_code_are_refused_and_nothing_is_left(hub, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commit = sharing.push(REPO, files_of(run))
    (name,) = filter(sharing.is_weights, hub.files[commit])
    torch.save({"state_dict": {}, "epoch": Runs(), KEY: {}}, tmp_path / "evil")
    for content in ((tmp_path / "evil").read_bytes(), b"", hub.files[commit][name][:1000]):
        hub.files[commit][name] = content
        before = set(tmp_path.iterdir())
        with pytest.raises(UserError) as told:
            sharing.pull(REPO)
        assert "\n" not in str(told.value)
        assert set(tmp_path.iterdir()) - before <= {tmp_path / "cache"}
        hub.refs["main"] = hub.commits[0]  # the same commit: the cache keeps what it has
        for path in (tmp_path / "cache").rglob("*"):
            if path.is_file():
                path.unlink()


def test_the_target_stays_as_it_is(hub, run, tmp_path):
    sharing.push(REPO, files_of(run))
    asked = len(hub.asked)
    with pytest.raises(UserError, match="run exists already: give another folder"):
        sharing.pull(REPO, run)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*file/inner"):
        sharing.pull(REPO, tmp_path / "file" / "inner")
    assert len(hub.asked) > asked
    assert not list(tmp_path.glob(".*.part"))


def test_without_a_network_the_cache_serves(hub, run, tmp_path, monkeypatch):
    commit = sharing.push(REPO, files_of(run))
    sharing.pull(REPO, tmp_path / "one")
    hub.close()
    assert sharing.pull(f"{REPO}@{commit}", tmp_path / "two").commit == commit
    with pytest.warns(UserWarning, match=f"^commit {commit} of the cache was used"):
        assert sharing.pull(REPO, tmp_path / "three").commit == commit
    with pytest.raises(UserError, match="owner/prompts: the hub cannot be asked"):
        sharing.push(REPO, files_of(run))
    with pytest.raises(UserError, match="or download it by hand: modprompt reads the folder"):
        sharing.pull("owner/other", tmp_path / "four")


@pytest.mark.cover(2)
@pytest.mark.parametrize(
    ("part", "status"),
    [
        *((part, 403) for part in ("/api/repos/create", "/preupload/", "/commit/")),
        *((part, 500) for part in ("/api/repos/create", "/commit/")),
        ("/preupload/", 500),  # the package asks again and again
    ],
)
def test_a_push_that_fails_is_one_line_without_the_token(part, status, hub, run, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between its attempts
    hub.refused = (part, status, b'{"error": "not today, hf_secretsecretsecret"}')
    with pytest.raises(UserError) as told:
        sharing.push(REPO, files_of(run))
    assert str(told.value).startswith(f"{REPO}: the hub {'refuses' if status < 500 else 'cannot be asked'} (")
    assert "\n" not in str(told.value)
    assert "secret" not in str(told.value)
    assert hub.commits == []


def test_wrong_tokens_are_told_and_not_printed(hub, run, monkeypatch):
    for token in ("hf_wrongwrong", "hf_with a space\u00e9"):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(UserError) as told:
            sharing.push(REPO, files_of(run))
        assert "wrongwrong" not in str(told.value)
        assert "with a space" not in str(told.value)


def test_a_private_push_to_a_public_repository_is_refused(hub, run):
    sharing.push(REPO, {sharing.CARD: b"# card\n"})
    with pytest.raises(UserError, match="exists already and is public"):
        sharing.push(REPO, files_of(run), private=True)
    hub.private = True
    assert sharing.push(REPO, files_of(run), private=True)


def test_what_is_no_repository_of_ours(hub, run, tmp_path):
    with pytest.raises(UserError, match="the hub refuses \\(404 .*Repository Not Found"):
        sharing.pull(REPO, tmp_path / "theirs")
    sharing.push(REPO, {sharing.CARD: b"# card\n"})
    with pytest.raises(UserError, match="it has no checkpoints of modprompt"):
        sharing.pull(REPO, tmp_path / "theirs")
    with pytest.raises(UserError, match="the hub refuses \\(404 .*Revision Not Found"):
        sharing.pull(f"{REPO}@nosuch", tmp_path / "theirs")
    for name in ("prompts", "a/b/c", "owner/x@", ""):
        with pytest.raises(UserError, match="does not name a repository of a hub"):
            sharing.pull(name, tmp_path / "theirs")
    with pytest.raises(UserError, match="leave out @v1"):
        sharing.push(f"{REPO}@v1", files_of(run))


def test_a_file_that_does_not_say_what_it_is_is_not_shared(tmp_path):
    torch.save({"state_dict": {"ctx": torch.ones(2, 4)}, "epoch": 2}, tmp_path / "family.pth")
    with pytest.raises(UserError, match="family.pth does not say what it is"):
        sharing.files_of(checkpoint.read(tmp_path / "family.pth"), tmp_path / "family.pth")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("prompt_learner/model.pth.tar-5", True),
        ("a/b/VLPromptLearner/model-best.pth.tar", True),
        ("prompt_learner/model.safetensors", True),
        ("model.pth.tar-5", False),
        ("a/evil.py", False),
        ("a/model/x", False),
        ("../model.pth", False),
        ("a//model.pth", False),
        ("a/" * 20 + "model.pth.tar-5", False),
    ],
)
def test_names_of_weights(name, ours):
    assert sharing.is_weights(name) is ours
