"""Files of a hub: in caches laid by hand, and by the real huggingface_hub from a small hub on this machine.

What that hub does not show: TLS, tokens and proxies, storage by Xet and blobs that repositories share, renamed
repositories, limits of requests, and files as large as weights are.
"""

import hashlib
import http.server
import importlib.util
import json
import os
import subprocess
import sys
import threading
import types
import warnings
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from modprompt.clip import hub
from modprompt.errors import UserError
from tests.conftest import ROOT

REPO = "owner/Some-CLIP_1.0"
OLD, NEW = "0123456789" * 4, "ab" * 20
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
FILES = {WEIGHTS: b"weights", "config.json": b"{}", "README.md": b"words"}
SHARDS = ("model-1-of-2.safetensors", "model-2-of-2.safetensors")
MEANT = ("HF_", "HUGGINGFACE", "TRANSFORMERS_OFFLINE", "XDG_CACHE_HOME")


def choose(files):
    """Weights, which must be there, and a config, which may."""
    if not {WEIGHTS, INDEX} & set(files):
        raise UserError("no weights")
    return [name for name in (WEIGHTS, INDEX, "config.json") if name in files]


def index_of(*files):
    return json.dumps({"metadata": {}, "weight_map": {f"tensor.{i}": file for i, file in enumerate(files)}}).encode()


def sharded(*files):
    return {INDEX: index_of(*files), "config.json": b"{}"}


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache that the environment names, and nothing else of a hub in the environment."""
    for name in [name for name in os.environ if name.startswith(MEANT)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def absent(monkeypatch):
    """As if huggingface_hub were not installed."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)


def lay(cache, files, commit=OLD, revision="main", links=True):
    """A snapshot as huggingface_hub lays it; returns its folder."""
    place = cache / f"models--{REPO.replace('/', '--')}"
    folder = place / "snapshots" / commit
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not links:
            path.write_bytes(content)
            continue
        kind = hashlib.sha256 if name.endswith(".safetensors") else hashlib.sha1
        blob = place / "blobs" / kind(content).hexdigest()
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(content)
        path.unlink(missing_ok=True)
        path.symlink_to(os.path.relpath(blob, path.parent))
    if revision:
        ref = place / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit)
    return folder


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("hf-hub:owner/name", ("owner/name", "")),
        ("hf-hub:owner/name@main", ("owner/name", "main")),
        (f"hf-hub:{REPO}@{OLD}", (REPO, OLD)),
        ("hf-hub:a/b@refs/pr/1", ("a/b", "refs/pr/1")),
        ("hf-hub:a/b@v1.0+x", ("a/b", "v1.0+x")),
    ],
)
def test_names_of_repositories(name, parts):
    assert hub.parse(name) == parts


def test_names_that_are_none():
    for name in (
        "", "hf-hub:", "hf-hub:name", "hf-hub:owner/", "hf-hub:/name", "hf-hub:owner/name/more", "hf-hub:owner/..",
        "hf-hub:../name", "hf-hub:owner/na..me", "hf-hub:ow--ner/name", "hf-hub:owner/na me", "hf-hub:owner/name\n",
        "hf-hub:owner\\name/x", "hf-hub:.owner/name", "hf-hub:owner/name@", "hf-hub:owner/name@a b",
        "hf-hub:owner/name@../x", "hf-hub:owner/name@a/../x", "hf-hub:owner/name@/x", "hf-hub:owner/name@a//b",
        "hf-hub:owner/name@a@b", "hf-hub:owner/name@C:\\x", "owner/name", "HF-HUB:owner/name",
        "https://huggingface.co/owner/name",
    ):  # fmt: skip
        with pytest.raises(UserError) as error:
            hub.parse(name)
        assert "write hf-hub:owner/name, or hf-hub:owner/name@revision" in one_line(error)


@pytest.mark.parametrize(("repo", "revision"), [("../x", ""), ("a/b/c", ""), (REPO, ".."), (REPO, "a/../../b")])
def test_no_path_is_made_of_names_that_are_none(repo, revision):
    for call in (lambda: hub.cached(repo, revision), lambda: hub.snapshot(repo, revision, choose)):
        with pytest.raises(UserError, match=r"is not a (repository|branch)"):
            call()


@pytest.mark.parametrize(("revision", "links"), [("main", True), ("v1", False), ("refs/pr/1", True)])
def test_cache_is_used_offline(cache, monkeypatch, links, revision):
    folder = lay(cache, FILES, revision=revision, links=links)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = hub.snapshot(REPO, "" if revision == "main" else revision, choose)
    assert found == hub.Snapshot(folder, OLD, REPO) == hub.cached(REPO, revision)
    assert (found.folder / WEIGHTS).read_bytes() == b"weights"


def test_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    """Each variable counts before those behind it."""
    under = {
        "HF_HUB_CACHE": "", "HUGGINGFACE_HUB_CACHE": "", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub",
        "HOME": ".cache/huggingface/hub",
    }  # fmt: skip
    for name in under:
        monkeypatch.setenv(name, str(tmp_path / name))
    for name, place in under.items():
        folder = lay(tmp_path / name / place, FILES)
        assert hub.cached(REPO).folder == folder
        monkeypatch.setenv(name, "")


def test_cache_may_be_given_from_home_or_by_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = lay(tmp_path / "x" / "hub", FILES)
    for given in ("~/x", "$HOME/x"):
        monkeypatch.setenv("HF_HUB_CACHE", "")
        monkeypatch.setenv("HF_HOME", given)
        assert hub.cached(REPO).folder == folder


def test_pinned_commit_needs_no_ref_and_no_package(cache, absent):
    folder = lay(cache, FILES, revision="")
    assert hub.snapshot(REPO, OLD, choose) == hub.Snapshot(folder, OLD, REPO)
    assert hub.cached(REPO) is None
    assert hub.cached(REPO, NEW) is None
    with pytest.raises(UserError, match="huggingface_hub is not installed, and the cache .* does not have it"):
        hub.snapshot(REPO, NEW, choose)


@pytest.mark.parametrize("value", ["1", "true", "YES", "On"])
def test_offline_says_so_and_what_is_missing(cache, monkeypatch, value):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace())  # nothing of it is used
    with pytest.raises(UserError) as error:
        hub.snapshot(REPO, "", choose)
    assert one_line(error) == (
        f"hf-hub:{REPO}@main: HF_HUB_OFFLINE forbids the network, and the cache {cache} does not have it; "
        "unset it, or download all of it by hand and give its folder as MODEL.BACKBONE.PATH"
    )
    lay(cache, {"config.json": b"{}"})
    with pytest.raises(UserError) as error:
        hub.snapshot(REPO, "", choose)
    assert f"commit {OLD} in the cache {cache} does not have what is needed (no weights); unset it" in one_line(error)


def test_other_values_do_not_mean_offline(cache, monkeypatch, absent):
    for value in ("", "0", "no", "false"):
        monkeypatch.setenv("HF_HUB_OFFLINE", value)
        with pytest.raises(UserError, match="is not installed"):
            hub.snapshot(REPO, "", choose)


def test_without_the_package_the_cache_is_used_or_the_extra_named(cache, absent):
    with pytest.raises(UserError) as error:
        hub.snapshot(REPO, "", choose)
    assert "huggingface_hub is not installed" in one_line(error)
    assert "; pip install huggingface_hub safetensors Jinja2, or download all of it by hand" in one_line(error)
    lay(cache, FILES)
    assert hub.snapshot(REPO, "", choose).commit == OLD


def test_package_that_is_broken_is_not_said_to_be_missing(cache, monkeypatch, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "huggingface_hub.py").write_text("import no_such_part_of_it")
    monkeypatch.syspath_prepend(tmp_path / "broken")
    monkeypatch.delitem(sys.modules, "huggingface_hub", raising=False)
    with pytest.raises(
        UserError, match="cannot be imported .ModuleNotFoundError: No module named 'no_such_part_of_it'"
    ):
        hub.snapshot(REPO, "", choose)
    lay(cache, FILES)
    with pytest.warns(UserWarning, match=f"commit {OLD} of the cache was used, because huggingface_hub cannot be imp"):
        hub.snapshot(REPO, "", choose)


def test_file_whose_blob_is_gone_is_missing(cache, absent):
    folder = lay(cache, FILES)
    (folder / WEIGHTS).resolve().unlink()
    with pytest.raises(UserError, match="does not have what is needed .no weights"):
        hub.snapshot(REPO, "", choose)


def test_file_that_is_named_and_not_there_makes_the_cache_incomplete(cache, absent):
    lay(cache, FILES)
    with pytest.raises(UserError, match=rf"commit {OLD} in the cache .* lacks vocab.json; pip install"):
        hub.snapshot(REPO, OLD, lambda files: [WEIGHTS, "vocab.json"])


def test_ref_that_names_no_commit(cache, absent):
    ref = lay(cache, FILES).parents[1] / "refs" / "main"
    for content in ("", "main", OLD[:-1], f"{OLD} {OLD}", "x" * 5000):
        ref.write_text(content)
        with pytest.raises(UserError) as error:
            hub.cached(REPO)
        assert one_line(error).startswith(f"{ref} is ")
    assert hub.snapshot(REPO, OLD, choose).commit == OLD  # asks no ref


def test_shards_of_an_index_are_wanted(cache, absent):
    folder = lay(cache, {**sharded(*SHARDS, SHARDS[0]), SHARDS[0]: b"1"})
    with pytest.raises(UserError, match=f"lacks {SHARDS[1]};"):
        hub.snapshot(REPO, "", choose)
    lay(cache, {SHARDS[1]: b"2"})
    assert hub.snapshot(REPO, "", choose).folder == folder
    lay(cache, {f"deep/er/{INDEX}": index_of("one.bin")})
    with pytest.raises(UserError, match=r"lacks deep/er/one\.bin;"):
        hub.snapshot(REPO, "", lambda files: [name for name in files if name.startswith("deep/")])


def test_hash_of_a_blob_must_be_its_name(cache, tmp_path):
    folder = lay(cache, FILES)
    digest = hashlib.sha256(b"weights").hexdigest()
    blob = (folder / WEIGHTS).resolve()
    mine = tmp_path / "mine.safetensors"
    mine.symlink_to(folder / WEIGHTS)
    for path in (folder / WEIGHTS, mine, blob):
        assert hub.check_blob(path) == digest
    blob.write_bytes(b"weights, cut o")
    for path in (folder / WEIGHTS, mine, blob):
        with pytest.raises(UserError) as error:
            hub.check_blob(path)
        assert one_line(error).startswith(f"{path} is damaged: ")
        assert f"delete {blob} and download it again" in one_line(error)


def test_blob_that_repositories_share_goes_by_its_own_name(cache):
    """Newer huggingface_hub: blobs/<SHA-256> of a repository leads to blobs/<2 digits>/<another hash> of the cache."""
    folder = lay(cache, FILES)
    blob = (folder / WEIGHTS).resolve()
    shared = cache / "blobs" / "cd" / ("cd" * 32)
    shared.parent.mkdir(parents=True)
    blob.replace(shared)
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    assert hub.check_blob(folder / WEIGHTS) == blob.name
    shared.write_bytes(b"other")
    with pytest.raises(UserError, match=f"delete {shared} and"):
        hub.check_blob(folder / WEIGHTS)


def test_files_that_no_sha256_names_are_not_checked(cache, tmp_path):
    folder = lay(cache, FILES)
    (folder / "config.json").resolve().write_bytes(b"[]")  # named by a hash of git
    assert hub.check_blob(folder / "config.json") == hashlib.sha256(b"[]").hexdigest()
    plain = lay(tmp_path / "plain", FILES, links=False) / WEIGHTS
    plain.write_bytes(b"other")
    assert hub.check_blob(plain) == hashlib.sha256(b"other").hexdigest()


@pytest.mark.timeout(20)
def test_what_has_no_hash(cache, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "round").symlink_to("round")
    for name in ("nothing", "pipe", "", "round"):
        with pytest.raises(UserError) as error:
            hub.check_blob(tmp_path / name)
        one_line(error)


def package(info=None, download=None):
    """A stand-in of huggingface_hub."""

    def call(answer, *values):
        if isinstance(answer, BaseException):
            raise answer
        return answer(*values)

    return types.SimpleNamespace(
        HfApi=lambda: types.SimpleNamespace(model_info=lambda repo, revision, files_metadata: call(info, revision)),
        hf_hub_download=lambda repo, file, revision, cache_dir: call(download, file, revision, Path(cache_dir)),
    )


def listing(commit, *files, size=None):
    return lambda revision: types.SimpleNamespace(
        sha=commit, siblings=[types.SimpleNamespace(rfilename=file, size=size) for file in files]
    )


class NotFromOS(Exception):
    """As the errors of httpx are."""


def caused(error, cause):
    error.__cause__ = cause
    return error


FAILURES = {
    "httpx": (NotFromOS("no route\n\nto host"), "NotFromOS: no route to host"),
    "Xet": (RuntimeError("Data processing error"), "RuntimeError: Data processing error"),
    "a page of a hotel": (ValueError("no JSON"), "ValueError: no JSON"),
    "timeout": (TimeoutError(), "TimeoutError: "),
    "hf": (caused(type("LocalEntryNotFoundError", (OSError,), {})("look"), OSError("dead")), "OSError: dead"),
}


@pytest.mark.parametrize(("error", "reason"), FAILURES.values(), ids=FAILURES)
def test_failures_of_all_kinds_fall_back_to_the_cache(cache, monkeypatch, error, reason):
    late = isinstance(error, (RuntimeError, TimeoutError))  # at a file, not at the list of files
    answers = (listing(NEW, *FILES), error) if late else (error, None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", package(*answers))
    with pytest.raises(UserError) as raised:
        hub.snapshot(REPO, "", choose)
    assert one_line(raised).startswith(f"hf-hub:{REPO}@main: the hub cannot be asked ({reason}), and the cache {cache}")
    assert "HF_ENDPOINT, and HF_TOKEN" in one_line(raised)
    lay(cache, FILES)
    with pytest.warns(UserWarning, match="of the cache was used") as said:
        assert hub.snapshot(REPO, "", choose).commit == OLD
    (one,) = said
    assert str(one.message) == (
        f"hf-hub:{REPO}@main: commit {OLD} of the cache was used, because the hub cannot be asked ({reason})"
    )
    assert one.filename == __file__


def refusal(*names):
    kind = OSError
    for name in names:
        kind = type(name, (kind,), {})
    return kind("404\n\nClient Error")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (refusal("RepositoryNotFoundError"), "does not exist on the hub, or is private"),
        (refusal("RepositoryNotFoundError", "GatedRepoError"), "is only for users whom its owner allows"),
        (refusal("RevisionNotFoundError"), "the repository has no such revision"),
    ],
)
def test_what_the_hub_refuses_is_not_taken_from_the_cache(cache, monkeypatch, error, said):
    lay(cache, FILES)
    for answers in ((error, None), (listing(NEW, *FILES), error)):
        monkeypatch.setitem(sys.modules, "huggingface_hub", package(*answers))
        with pytest.raises(UserError) as raised:
            hub.snapshot(REPO, "", choose)
        assert one_line(raised).startswith(f"hf-hub:{REPO}@main ")
        assert said in one_line(raised)
        assert "HF_HUB_OFFLINE=1 uses that" in one_line(raised)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.snapshot(REPO, "", choose).commit == OLD


def download_into(cache, files, commit=NEW):
    def download(file, revision, given):
        assert (revision, given) == (NEW, cache)
        lay(cache, {file: files[file]}, commit, revision="")

    return download


def test_weights_come_last(cache, monkeypatch):
    """A download that was cut short must not pass for a whole one."""
    asked = []
    files = {**FILES, "a.bin": b"", "preprocessor_config.json": b"{}"}
    download = download_into(cache, files)
    fake = package(listing(NEW, *files), lambda file, *rest: asked.append(file) or download(file, *rest))
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    assert hub.snapshot(REPO, "", sorted).commit == NEW
    assert asked == ["README.md", "config.json", "preprocessor_config.json", "a.bin", WEIGHTS]


def test_file_larger_than_any_weights_is_not_fetched(cache, monkeypatch):
    asked = []
    fake = package(listing(NEW, *FILES, size=(64 << 30) + 1), lambda *given: asked.append(given))
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    with pytest.raises(UserError, match="has 68,719,476,737 bytes, more than weights of a CLIP have: not downloaded"):
        hub.snapshot(REPO, "", choose)
    assert asked == []


@pytest.mark.parametrize("commit", [None, "", "main", NEW[:-1], OLD])
def test_hub_that_names_no_commit_or_another(cache, monkeypatch, commit):
    fake = package(listing(commit, *FILES), download_into(cache, FILES))
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    with pytest.raises(UserError) as error:
        hub.snapshot(REPO, NEW, choose)
    assert f"the hub says that it is commit {str(commit)!r}" in one_line(error)


def test_hub_that_gives_files_of_another_commit(cache, monkeypatch):
    monkeypatch.setitem(
        sys.modules, "huggingface_hub", package(listing(NEW, *FILES), download_into(cache, FILES, commit=OLD))
    )
    with pytest.raises(UserError, match=f"the hub gave config.json of another commit than {NEW}"):
        hub.snapshot(REPO, "", choose)


@pytest.mark.parametrize("file", ["vocab.json", "../x", "a/../../x", "/x", "a\\x", "a//x"])
def test_only_files_of_the_repository_are_downloaded(cache, monkeypatch, file):
    listed = [] if file == "vocab.json" else [file]
    monkeypatch.setitem(sys.modules, "huggingface_hub", package(listing(NEW, *listed), OSError("asked for")))
    with pytest.raises(UserError) as error:
        hub.snapshot(REPO, "", lambda files: [file])
    assert one_line(error) == f"hf-hub:{REPO}@main at commit {NEW} has no file {file!r}"


def test_ref_that_cannot_be_written_is_told(cache, monkeypatch):
    lay(cache, FILES, NEW, revision="")
    (cache / f"models--{REPO.replace('/', '--')}" / "refs").write_text("in the way")
    monkeypatch.setitem(sys.modules, "huggingface_hub", package(listing(NEW, *FILES), lambda *_: None))
    with pytest.warns(UserWarning, match="cannot be written .*: offline, it is not found") as said:
        assert hub.snapshot(REPO, "", choose).commit == NEW
    assert [one.filename for one in said] == [__file__]


def test_ref_is_mended_and_not_written_again(cache, monkeypatch):
    folder = lay(cache, FILES, NEW)
    ref = folder.parents[1] / "refs" / "main"
    monkeypatch.setitem(sys.modules, "huggingface_hub", package(listing(NEW, *FILES), lambda *_: None))
    before = ref.stat()
    hub.snapshot(REPO, "", choose)
    assert (ref.stat().st_ino, ref.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    ref.write_text("damaged")
    hub.snapshot(REPO, "", choose)
    assert hub.cached(REPO).commit == NEW


class Hub:
    """A small hub: {revision: commit} and {commit: {file: bytes}} of one repository; it counts what it is asked."""

    def __init__(self):
        self.repo = REPO
        self.refs = {"main": OLD, OLD: OLD}
        self.files = {OLD: dict(FILES)}
        self.asked = []
        self.gated = False
        self.page = None  # (status, bytes) for everything
        self.sent = {}  # bytes that stand in for those of a file
        # large files come from another address, as they do from the hub
        self.servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler()) for _ in range(2)]
        self.threads = []
        for server in self.servers:
            server.daemon_threads = False  # all are waited for
            self.threads.append(threading.Thread(target=server.serve_forever, args=(0.01,)))
            self.threads[-1].start()
        self.address, self.store = (f"http://127.0.0.1:{server.server_address[1]}" for server in self.servers)

    def close(self):
        for server, thread in zip(self.servers, self.threads):
            if thread.is_alive():
                server.shutdown()
                thread.join()
                server.server_close()

    def answer(self, path):
        """(status, headers, bytes)"""
        if self.page:
            return self.page[0], {}, self.page[1]
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[:2] == ["api", "models"]:
            return self._info("/".join(parts[2:4]), parts[5])
        if len(parts) == 1:
            content = {sha256(one): one for files in self.files.values() for one in files.values()}[parts[0]]
            return 200, {}, self.sent.get(content, content)
        return self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))

    def _info(self, repo, revision):
        if repo != self.repo:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        commit = self.refs.get(revision)
        if commit is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        facts = {"_id": "1", "id": repo, "modelId": repo, "sha": commit, "private": False, "downloads": 0, "likes": 0}
        siblings = [{"rfilename": name} for name in self.files[commit]]
        return 200, {}, json.dumps({**facts, "tags": [], "siblings": siblings}).encode()

    def _file(self, repo, commit, name):
        content = self.files.get(commit, {}).get(name)
        if self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if repo != self.repo or content is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        if not name.endswith(".safetensors"):
            return 200, headers, content
        linked = {"X-Linked-Etag": f'"{sha256(content)}"', "X-Linked-Size": str(len(content))}
        return 302, {**headers, **linked, "Location": f"{self.store}/{sha256(content)}"}, b""

    def _handler(hub):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path = urlsplit(self.path).path
                hub.asked.append(f"{self.command} {unquote(path)}")
                status, headers, content = hub.answer(path)
                start = int(self.headers.get("Range", "bytes=0-")[len("bytes=") :].split("-")[0])
                if start and status == 200:  # goes on with what was cut off, as older huggingface_hub does
                    headers = {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
                    status, content = 206, content[start:]
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        return Handler


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def served():
    if importlib.util.find_spec("huggingface_hub") is None:
        pytest.skip("huggingface_hub is not installed")
    served = Hub()
    try:
        yield served
    finally:
        served.close()


CHILD = """
import json, sys, warnings
from modprompt.clip import hub
from modprompt.errors import UserError
repo, revision, *wanted = sys.argv[1:]
def choose(files):
    if wanted[0] not in files:
        raise UserError("no " + wanted[0])
    return [name for name in wanted if name in files]
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    try:
        found = hub.snapshot(repo, revision, choose)
        result = {"commit": found.commit, "folder": str(found.folder), "repo": found.repo}
    except UserError as error:
        result = {"error": str(error)}
print(json.dumps({**result, "said": [str(one.message) for one in said]}))
"""


@pytest.fixture
def ask(served, cache, tmp_path):
    """Call `snapshot` in a process of its own with the real huggingface_hub, which reads its variables only once."""

    def ask(revision="", *wanted, repo=REPO, **variables):
        env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        env.update(
            HF_ENDPOINT=served.address,
            HF_HUB_CACHE=str(cache),
            HF_HOME=str(tmp_path / "home"),
            HF_HUB_DISABLE_TELEMETRY="1",
            HF_HUB_DISABLE_XET="1",
            **variables,
        )
        served.asked.clear()
        words = [sys.executable, "-c", CHILD, repo, revision, *(wanted or (WEIGHTS, "config.json"))]
        ended = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=100)
        assert ended.returncode == 0, ended.stderr
        result = json.loads(ended.stdout)
        assert "\n" not in result.get("error", "") + "".join(result["said"])
        return types.SimpleNamespace(**{"error": "", "commit": None, "folder": None, "repo": None, **result})

    return ask


def content_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
    }


def test_what_is_wanted_is_downloaded_once(served, ask, cache):
    found = ask()
    assert (found.error, found.said, found.commit, found.repo) == ("", [], OLD, REPO)
    assert content_of(found.folder) == {WEIGHTS: b"weights", "config.json": b"{}"}
    assert served.asked[0] == f"GET /api/models/{REPO}/revision/main"
    assert not [one for one in served.asked if "README" in one]
    assert hub.cached(REPO) == (Path(found.folder), OLD, REPO)
    assert (Path(found.folder) / WEIGHTS).resolve().name == hub.check_blob(Path(found.folder) / WEIGHTS)

    offline = ask(HF_HUB_OFFLINE="1")
    assert (offline.folder, offline.said, served.asked) == (found.folder, [], [])
    pinned = ask(OLD)
    assert (pinned.folder, served.asked) == (found.folder, [])
    again = ask("main")
    assert (again.folder, served.asked) == (found.folder, [f"GET /api/models/{REPO}/revision/main"])


def test_branch_that_moved_is_followed(served, ask, cache):
    old = lay(cache, FILES)
    served.refs["main"] = NEW
    served.files[NEW] = {**FILES, WEIGHTS: b"newer"}
    found = ask()
    assert (found.commit, hub.cached(REPO).commit, found.said) == (NEW, NEW, [])
    assert (content_of(found.folder)[WEIGHTS], content_of(old)[WEIGHTS]) == (b"newer", b"weights")


def test_request_for_a_change_is_a_revision(served, ask):
    served.refs["refs/pr/1"] = OLD
    found = ask("refs/pr/1")
    assert (found.commit, hub.cached(REPO, "refs/pr/1").commit) == (OLD, OLD)
    assert hub.cached(REPO) is None


def test_shards_are_downloaded_with_their_index(served, ask):
    served.files[OLD] = {**sharded(*SHARDS), SHARDS[0]: b"1", SHARDS[1]: b"2", "other.safetensors": b"3"}
    found = ask("", INDEX)
    assert content_of(found.folder) == {INDEX: index_of(*SHARDS), SHARDS[0]: b"1", SHARDS[1]: b"2"}
    del served.files[OLD][SHARDS[1]]
    served.files[OLD][INDEX] = index_of(*SHARDS, "gone.safetensors")
    served.refs["main"], served.files[NEW] = NEW, served.files[OLD]
    assert ask("", INDEX).error == f"hf-hub:{REPO}@main at commit {NEW} has no file 'gone.safetensors'"


def test_shard_outside_the_repository_is_refused(served, ask, tmp_path):
    served.files[OLD] = {INDEX: index_of("../../../../taken"), "../../../../taken": b"x"}
    assert "names '../../../../taken', which is not the name" in ask("", INDEX).error
    assert not list(tmp_path.rglob("taken"))


def test_what_does_not_exist_is_said_and_not_taken_from_the_cache(served, ask, cache):
    lay(cache, FILES)
    lay(cache, FILES, revision="v0")
    assert "hf-hub:no/such@main does not exist on the hub, or is private" in ask(repo="no/such").error
    assert f"hf-hub:{REPO}@v0 does not exist on the hub: the repository has no such revision" in ask("v0").error
    served.repo = "moved/away"
    assert f"hf-hub:{REPO}@main does not exist on the hub, or is private" in ask().error
    assert ask(HF_HUB_OFFLINE="1").commit == OLD


def test_repository_with_a_gate(served, ask):
    served.gated = True
    assert f"hf-hub:{REPO}@main is only for users whom its owner allows" in ask().error


def test_nothing_usable_is_said_by_who_chooses(served, ask):
    assert ask("", "pytorch_model.bin").error == f"hf-hub:{REPO}@main: no pytorch_model.bin"


def test_hub_that_is_gone(served, ask, cache):
    served.close()
    failed = ask()
    assert failed.error.startswith(f"hf-hub:{REPO}@main: the hub cannot be asked (Connect")
    assert f"and the cache {cache} does not have it; check the network, HF_ENDPOINT, and HF_TOKEN" in failed.error
    lay(cache, FILES)
    found = ask()
    (said,) = found.said
    assert found.commit == OLD
    assert said.startswith(f"hf-hub:{REPO}@main: commit {OLD} of the cache was used, because the hub cannot be asked (")
    assert ask(OLD).said == []  # not asked for


@pytest.mark.cover(2)
@pytest.mark.parametrize("page", [(500, b"broken"), (200, b"<html>pay here</html>"), (200, b"[]"), (403, b"")])
def test_hub_that_answers_something_else(served, ask, cache, page):
    served.page = page
    assert ask().error.startswith(f"hf-hub:{REPO}@main: the hub cannot be asked (")
    lay(cache, FILES)
    found = ask()
    assert (found.commit, len(found.said)) == (OLD, 1)


def test_download_that_is_cut_off(served, ask, cache):
    served.sent[b"weights"] = b"weig"
    assert ask().error.startswith(f"hf-hub:{REPO}@main: the hub cannot be asked (")
    assert hub.cached(REPO) is None
    assert not [path for path in cache.rglob("*") if path.name == WEIGHTS]
    served.sent.clear()
    assert content_of(ask().folder)[WEIGHTS] == b"weights"


def test_download_that_was_altered_is_noticed(served, ask, cache):
    """huggingface_hub compares sizes only."""
    served.sent[b"weights"] = b"wEights"
    path = Path(ask().folder) / WEIGHTS
    with pytest.raises(UserError) as error:
        hub.check_blob(path)
    assert f"delete {path.resolve()} and download it again" in one_line(error)
    path.resolve().unlink()
    served.sent.clear()
    assert ask().said == []
    assert hub.check_blob(path) == sha256(b"weights")


def test_nothing_of_this_imports_the_package():
    text = "import sys, modprompt.clip.hub; assert not {'huggingface_hub', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", text], cwd=ROOT, check=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hub.cached(REPO) is None
