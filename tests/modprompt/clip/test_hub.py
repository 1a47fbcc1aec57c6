"""Files of a hub: in a cache laid by hand, by the real huggingface_hub, with a stand-in for its answers."""

import sys
import types

import pytest

from modprompt.clip import hub
from modprompt.errors import UserError

REPO = "owner/Some-CLIP_1.0"
OLD, NEW = "0123456789" * 4, "ab" * 20


def choose(files):
    if "weights" not in files:
        raise UserError("no weights")
    return [name for name in ("weights", "config") if name in files]


@pytest.fixture
def client(tmp_path, monkeypatch):
    """The package with an empty cache; `info` is what the hub answers, or the error that it is not reached with."""
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    fake = types.SimpleNamespace(info=ConnectionError("no network"), asked=[])

    def model_info(self, repo, revision=None, **_):
        if isinstance(fake.info, Exception):
            raise fake.info
        return fake.info

    of_package = huggingface_hub.snapshot_download

    def download(repo, revision=None, allow_patterns=None, local_files_only=False):
        if local_files_only:
            return of_package(repo, revision=revision, allow_patterns=allow_patterns, local_files_only=True)
        fake.asked.append(allow_patterns)
        lay(tmp_path, dict.fromkeys((*allow_patterns,), ""), fake.info.sha)
        return str(tmp_path / f"models--{REPO.replace('/', '--')}" / "snapshots" / fake.info.sha)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return fake


def lay(cache, files, commit=OLD):
    place = cache / f"models--{REPO.replace('/', '--')}"
    for name, content in files.items():
        path = place / "snapshots" / commit / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / "main").write_text(commit)


def answer(*files, sha=NEW):
    return types.SimpleNamespace(sha=sha, siblings=[types.SimpleNamespace(rfilename=name) for name in files])


def test_what_the_hub_has_is_downloaded_and_no_more(client, tmp_path):
    client.info = answer("README.md", "weights", "config", "other.bin")
    found = hub.snapshot(REPO, "", choose)
    assert (found.commit, found.files()) == (NEW, ["config", "weights"])
    assert client.asked == [["weights", "config"]]


def test_a_commit_in_the_cache_is_not_asked_for_and_main_is_if_the_hub_is_reached(client, tmp_path):
    lay(tmp_path, {"weights": ""})
    assert hub.snapshot(REPO, OLD, choose).commit == OLD
    with pytest.warns(UserWarning, match=f"^Using commit {OLD} from the local cache. .*no network"):
        assert hub.snapshot(REPO, "", choose).commit == OLD
    client.info = answer("weights")
    assert hub.snapshot(REPO, "", choose).commit == NEW
    assert hub.cached(REPO).commit == NEW
    assert hub.cached("owner/other") is None


def test_what_cannot_be_had_is_one_line(client, tmp_path):
    def refusal(*args):
        with pytest.raises(UserError) as raised:
            hub.snapshot(REPO, *args)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert f"hf-hub:{REPO}@main: the Hugging Face hub cannot be reached (no network). " in refusal("", choose)
    lay(tmp_path, {"config": ""})
    assert (
        "Required files are also missing in the local cache (no weights). Download the repository by hand"
        in refusal("", choose)
    )
    client.info = ConnectionError("no such repository")
    client.info.response = types.SimpleNamespace(status_code=404)
    lay(tmp_path, {"weights": ""})
    rejected = f"hf-hub:{REPO}@main: the Hugging Face hub rejected the request (no such repository). Check "
    assert refusal("", choose).startswith(rejected)  # the cache is not asked
    client.info = answer("README.md")
    assert refusal("", choose) == f"hf-hub:{REPO}@main: no weights"


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="pip install huggingface_hub"):
        hub.snapshot(REPO, "", choose)
    assert hub.cached(REPO) is None


def test_names_of_another_form_are_refused():
    for name in ("owner/name", "hf-hub:name", "hf-hub:a/b/c", "hf-hub:a/b@", "hf-hub:../b", "hf-hub:"):
        with pytest.raises(
            UserError, match="is not the name of a repository on the Hugging Face hub. Write hf-hub:owner/name"
        ):
            hub.parse(name)
    assert hub.parse("hf-hub:a/b@refs/pr/1") == ("a/b", "refs/pr/1")
    assert hub.of_user("a/b") == ("a/b", "")


def test_files_are_named_with_their_folders(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "one").touch()
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    assert hub.Snapshot(tmp_path, OLD).files() == ["sub/one"]
