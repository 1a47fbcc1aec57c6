"""Prompts go to a hub as one commit and come back as weights; what is refused leaves nothing."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import modprompt
from modprompt.cli import train
from modprompt.errors import UserError
from modprompt.io.checkpoint import checkpoint_at
from modprompt.io.records import KEY
from modprompt.io.tensors import read_safetensors
from modprompt.methods.records import describe, method_record, write
from modprompt.use import sharing
from modprompt.use.trained import open_trained
from tests.conftest import slow_but
from tests.modprompt.use.made import INPUT, model_of, write_run

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
    assert names == ["README.md", "checkpoint", "config.json", "model.pth.tar-1", "pulled.json"]
    assert not [asked for asked in hub.asked if "evil" in asked]
    origin = json.loads((target / sharing.ORIGIN).read_text())
    assert (origin["repo"], origin["commit"], len(origin["sha256"])) == (REPO, commit, 4)


@pytest.mark.slow
def test_a_revision_is_pinned(hub, run, layout, tmp_path):
    first = sharing.push(REPO, layout(a_seed1=run))
    other = write_run(tmp_path / "other", model_of("CoOp"))
    with pytest.raises(UserError, match=f"{REPO} already contains .* replace the checkpoints with --replace"):
        sharing.push(REPO, layout(other))
    assert hub.commits == [first]
    second = sharing.push(REPO, layout(a_seed1=other, b_seed1=run), replace=True)
    assert sharing.pull(f"{REPO}@{first}", tmp_path / "old")[1] == first
    folder, commit, runs = sharing.pull(f"hf-hub:{REPO}", tmp_path / "new")
    assert (commit, runs) == (second, [folder / "a" / "seed1", folder / "b" / "seed1"])
    assert torch.equal(logits(tmp_path / "old" / "a" / "seed1"), logits(run))
    assert torch.equal(logits(runs[0]), logits(other))


@pytest.mark.parametrize(
    "name", slow_but(["MPL", "CoOp", "TaskRes", "CLIPLoRA", "ZeroshotCLIP"], "MPL", "TaskRes", "ZeroshotCLIP")
)
def test_a_saved_folder_holds_what_was_learned_and_comes_back(name, tmp_path):
    model, folder = model_of(name), tmp_path / "saved"
    model.save_pretrained(folder)
    model.save_pretrained(folder)  # over its own
    tensors, _ = read_safetensors(next(folder.rglob("*.safetensors")))
    assert set(tensors) == set(model.saved_state())
    config = json.loads((folder / "config.json").read_text())[KEY]
    assert (config["method"]["name"], config["classes"]["names"]) == (name, list(model.classes.names))
    draws = torch.get_rng_state()
    again = modprompt.from_pretrained(folder, device="cpu")
    assert torch.equal(torch.get_rng_state(), draws)
    images = torch.ones(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))


def test_a_loaded_model_makes_images_as_its_run(run, tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    assert torch.equal(model_of("MPL").preprocess(image), modprompt.load_clip("glyph-clip", device="cpu")[1](image))
    changed = describe_run(tmp_path / "people", {"INPUT.INTERPOLATION": "nearest", "INPUT.DECODING": "photo"})
    expected = open_trained(changed, device="cpu").preprocess(image)
    assert not torch.equal(open_trained(run, device="cpu").preprocess(image), expected)
    model = modprompt.load(changed, device="cpu")
    model.save(tmp_path / "file.pt")
    model.save(tmp_path / "file.safetensors")
    model.save_pretrained(tmp_path / "folder")
    for path in (changed, tmp_path / "file.pt", tmp_path / "file.safetensors", tmp_path / "folder"):
        assert torch.equal(modprompt.load(path, device="cpu").with_classes(["a"]).preprocess(image), expected), path
    unsupported = describe_run(tmp_path / "other", {"INPUT.NO_TRANSFORM": "True"})
    with pytest.raises(UserError, match="this command does not support this image preprocessing"):
        modprompt.load(unsupported, device="cpu").preprocess  # noqa: B018


def describe_run(folder, settings):
    """Writes a run with other settings of its images."""
    model = model_of("MPL")
    run = {"settings": {**INPUT, "DATASET.NAME": "Digits", **settings}}
    record = describe(method_record(model.method), model.classes, model.clip_facts, model.prompt_learner, run)
    write(folder / "MultiModalPromptLearner" / "model.pth.tar-1", model.saved_state(), record, 1)
    return folder


@pytest.mark.slow
def test_a_saved_folder_is_tested_as_its_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--trainer", "MPL", "OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "2"]
    assert train.main([*words[:2], "--output-dir", "run", *words[2:]]) == 0
    modprompt.load("run").save_pretrained("saved")
    flags = ["--eval-only", "--model-dir", "saved", "--output-dir", "test"]
    assert train.main([*words[:2], *flags, *words[2:]]) == 0
    counts = [json.loads((tmp_path / name / "result.json").read_text())["correct"] for name in ("run", "test")]
    assert counts[0] == counts[1]


def test_nothing_of_others_is_replaced_by_a_saved_folder(run, tmp_path):
    model = model_of("MPL")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text("{}")
    (tmp_path / "file").write_text("")
    model_of("CoOp").save_pretrained(tmp_path / "coop")
    for name, what in (
        ("run", "run/result.json"),
        ("foreign", "foreign/config.json"),
        ("file", "file"),
        ("coop", "coop/prompt_learner/model.safetensors"),
    ):
        before = sorted((tmp_path / name).rglob("*"))
        said = refused(model.save_pretrained, tmp_path / name)
        assert said.startswith(f"Cannot save the model in {tmp_path / name} because ")
        assert f"{tmp_path / what} exists and is not part of a saved model. Use another folder" in said
        assert sorted((tmp_path / name).rglob("*")) == before


def test_a_changed_description_is_rejected(tmp_path):
    model_of("MPL").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    text = path.read_text()
    for changed in (text.replace('"n_ctx": 1', '"n_ctx": 2'), text[:50]):
        path.write_text(changed)
        assert "Restore or delete config.json. Editing this file does not change the model." in refused(
            modprompt.from_pretrained, tmp_path
        )
    model_of("MPL", ["four", "five"]).save_pretrained(tmp_path / "other")
    path.write_text((tmp_path / "other" / "config.json").read_text())
    assert "config.json describes a different model" in refused(modprompt.from_pretrained, tmp_path)
    path.unlink()
    assert modprompt.from_pretrained(tmp_path, device="cpu").classes.names == ("one", "two", "three")


def test_a_repository_is_read_without_a_pull(hub, run, layout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model_of("MPL").save_pretrained("saved")
    first = sharing.push(REPO, layout("saved"))
    before = set(tmp_path.iterdir())
    images = torch.ones(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(modprompt.from_pretrained(REPO, device="cpu")(images), logits("saved"))
        sharing.push(REPO, layout(a_seed1=run, b_seed1="saved"), replace=True)
        assert "config.json" not in hub.files[hub.main]  # the description of what was replaced
        said = refused(modprompt.from_pretrained, REPO)
        assert said.endswith("contains no model, but 2 subfolders do. Choose a subfolder, e.g. subfolder='a/seed1'.")
        again = modprompt.from_pretrained(REPO, subfolder="b/seed1", device="cpu")
        assert torch.equal(again(images), logits("saved"))
        assert torch.equal(modprompt.from_pretrained(f"{REPO}@{first}", device="cpu")(images), logits("saved"))
    assert {path.name for path in set(tmp_path.iterdir()) - before} <= {"cache", "layout 1"}
    assert "nothing is neither an existing folder nor the name of a repository on the Hugging Face hub" in refused(
        modprompt.from_pretrained, "nothing"
    )
    assert "subfolder '../a'" in refused(modprompt.from_pretrained, REPO, subfolder="../a")


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
    assert "run already exists. Choose another folder." in refused(sharing.pull, REPO, run)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=f"File exists: '{tmp_path}/file'"):
        sharing.pull(REPO, tmp_path / "file" / "inner")
    assert not list(tmp_path.glob(".*"))


def test_without_a_network_the_cache_serves(hub, run, layout, tmp_path):
    commit = sharing.push(REPO, layout(run))
    sharing.pull(REPO, tmp_path / "one")
    hub.close()
    assert sharing.pull(f"{REPO}@{commit}", tmp_path / "two")[1] == commit
    with pytest.warns(UserWarning, match=f"^Using commit {commit} from the local cache"):
        assert sharing.pull(REPO, tmp_path / "three")[1] == commit
    assert "owner/prompts: the Hugging Face hub cannot be reached" in refused(sharing.push, REPO, layout(run))
    said = refused(sharing.pull, "owner/other", tmp_path / "four")
    assert "Download the repository by hand and use the path of its folder." in said


@pytest.mark.slow
def test_a_push_that_fails_is_one_line_without_the_token(hub, run, layout, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between its attempts
    for part, status, what in (
        ("/api/repos/create", 403, "rejected the request"),
        ("/preupload/", 500, "cannot be reached"),
        ("/commit/", 500, "cannot be reached"),
    ):
        hub.refused = (part, status, b'{"error": "not today, hf_secretsecretsecret"}')
        said = refused(sharing.push, REPO, layout(run))
        assert said.startswith(f"{REPO}: the Hugging Face hub {what} (")
        assert "secret" not in said
        assert hub.commits == []
    hub.refused = ("nowhere", 500, b"")
    for token in ("hf_wrongwrong", "hf_with a space\u00e9"):
        monkeypatch.setenv("HF_TOKEN", token)
        assert token[3:] not in refused(sharing.push, REPO, layout(run))


def test_repositories_that_are_none_of_ours_or_public(hub, run, layout, tmp_path):
    target = tmp_path / "theirs"
    assert "the Hugging Face hub rejected the request (404" in refused(sharing.pull, REPO, target)
    sharing.push(REPO, layout())
    assert "the repository contains no checkpoint uploaded by `modprompt push`" in refused(sharing.pull, REPO, target)
    assert "the Hugging Face hub rejected the request (404" in refused(sharing.pull, f"{REPO}@nosuch", target)
    for name in ("prompts", "a/b/c", "owner/x@", ""):
        assert "is not the name of a repository on the Hugging Face hub" in refused(sharing.pull, name, target)
    assert "Remove @v1." in refused(sharing.push, f"{REPO}@v1", layout(run))
    assert "already exists and is public" in refused(sharing.push, REPO, layout(run), private=True)
    hub.private = True
    assert sharing.push(REPO, layout(run), private=True)


def test_a_file_that_does_not_say_what_it_is_is_not_shared(tmp_path):
    torch.save({"state_dict": {"ctx": torch.ones(2, 4)}, "epoch": 2}, tmp_path / "family.pth")
    with pytest.raises(
        UserError, match="family.pth was written by a Dassl-based codebase and contains no modprompt metadata"
    ):
        sharing.lay_out(tmp_path / "family.pth", tmp_path / "to")
    assert not (tmp_path / "to").exists()
