"""Files of a repository on a Hugging Face hub: found in the cache, else downloaded by the package huggingface_hub.

The package is an extra, imported when the hub must be asked; what is in the cache is used without it. Each failure of
a hub is one message.
"""

import contextlib
import importlib
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from modprompt.errors import UserError
from modprompt.io import paths
from modprompt.io.safe_open import open_regular, read_text
from modprompt.io.shards import shard_names
from modprompt.io.text import sha256_of, write_whole

# answers of the hub, by names of classes, whose module has changed over the years; the first that fits counts
_REFUSALS = (
    ("GatedRepoError", "is only for users whom its owner allows: ask for access on its page, then set HF_TOKEN"),
    ("RepositoryNotFoundError", "does not exist on the hub, or is private: correct the name, or set HF_TOKEN"),
    ("RevisionNotFoundError", "does not exist on the hub: the repository has no such revision, correct it"),
)
_TOKENS, _TOKEN = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"), re.compile(r"hf_\w{4,}|(?<=Bearer )[^'\"\s]+")


class Unreached(Exception):
    """The hub was not reached: why, what to do, and whether the user is told even if the cache has it."""

    def __init__(self, reason: str, advice: str, told: bool = True):
        super().__init__(reason)
        self.advice = advice
        self.told = told


def package() -> Any:
    """The package huggingface_hub, if the network may be used."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise Unreached("HF_HUB_OFFLINE forbids the network", "unset it", told=False)
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        missing = error.name == "huggingface_hub"
        reason = "is not installed" if missing else f"cannot be imported ({_reason(error)})"
        raise Unreached(
            f"huggingface_hub {reason}", "pip install huggingface_hub safetensors Jinja2", told=not missing
        ) from None


def ask(repo: str, call: Callable[[Any], Any]) -> Any:
    """What the hub answers, for questions that the cache cannot answer.

    Args:
        repo: what the question is about, for messages.
        call: the question; gets the package huggingface_hub.

    Raises:
        UserError: if the hub says that there is no such thing, or cannot be asked.
    """
    try:
        found = package()
        return answer(repo, lambda: call(found), "")
    except Unreached as error:
        raise UserError(f"{repo}: {error}; {error.advice}") from None


def answer(
    name: str, call: Callable[[], Any], cached: str = "; if the cache has it, HF_HUB_OFFLINE=1 uses that"
) -> Any:
    """What the hub answers; UserError if it says that there is no such thing, Unreached if it fails otherwise."""
    try:
        return call()
    except Exception as error:  # requests, httpx, Xet and the package itself raise many kinds
        kinds = {one.__name__ for one in type(error).__mro__}
        for kind, text in _REFUSALS:
            if kind in kinds:
                raise UserError(f"{name} {text}{cached}") from None
        cause = error.__cause__ if "LocalEntryNotFoundError" in kinds else None  # that error itself says nothing
        advice = "check the network, HF_ENDPOINT, and HF_TOKEN if it is not public"
        raise Unreached(f"the hub cannot be asked ({_reason(cause or error)})", advice) from None


def _reason(error: BaseException) -> str:
    """An error as one line, without tokens: clients quote headers that they cannot send."""
    text = " ".join(str(error).split())
    for token in filter(None, (os.environ.get(name, "").strip() for name in _TOKENS)):
        text = text.replace(token, "***")
    return f"{type(error).__name__}: {_TOKEN.sub('***', text)[:200]}"


PREFIX = "hf-hub:"
_FORM = f"{PREFIX}owner/name, or {PREFIX}owner/name@revision"
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_STEP = r"[A-Za-z0-9_][A-Za-z0-9._+-]*"
_REPO = re.compile(f"{_NAME}/{_NAME}")
_REVISION = re.compile(f"{_STEP}(?:/{_STEP})*")  # a branch, a tag, a commit, or refs/pr/1
_COMMIT, _SHA256 = re.compile("[0-9a-f]{40}"), re.compile("[0-9a-f]{64}")
_INDEX, _WEIGHTS = ".index.json", (".safetensors", ".bin", ".pt", ".pth")
_MOST_BYTES = 64 << 30  # of a file
_BY_HAND = "or download all of it by hand and give its folder as MODEL.BACKBONE.PATH"
Choose = Callable[[Sequence[str]], Sequence[str]]


class Snapshot(NamedTuple):
    """One commit of a repository in the cache; files that nobody has asked for are missing."""

    folder: Path  # snapshots/<commit> in the cache
    commit: str  # 40 hex digits
    repo: str  # "owner/name"


def of_user(name: str) -> tuple[str, str]:
    """As parse, for what a user writes where only a repository is possible: the prefix may be left out."""
    return parse(name if name.startswith(PREFIX) else PREFIX + name)


def parse(name: str) -> tuple[str, str]:
    """Repository and revision of a name such as "hf-hub:owner/name@revision".

    Returns:
        ("owner/name", revision, which is empty if none is given).

    Raises:
        UserError: if it is not of that form.
    """
    repo, mark, revision = name[len(PREFIX) :].partition("@")
    if not name.startswith(PREFIX) or (mark and not revision):
        raise UserError(f"{name!r} does not name a repository of a hub: write {_FORM}")
    _require_names(repo, revision)
    return repo, revision


def _require_names(repo: str, revision: str) -> None:
    """Raise UserError on names that could not be folders of the cache."""
    if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo:
        raise UserError(f"{repo!r} is not a repository of a hub, which is owner/name: write {_FORM}")
    if revision and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise UserError(f"{revision!r} is not a branch, tag or commit of {repo}: write {_FORM}")


def snapshot(repo: str, revision: str, choose: Choose, by_hand: str = _BY_HAND) -> Snapshot:
    """The snapshot of a repository with the files that are wanted, downloaded if they are not in the cache.

    A full commit that the cache has is used without asking; for anything else the hub says which commit it is. If it
    cannot, the commit that the cache knows is used, with a warning unless HF_HUB_OFFLINE or a missing package is the
    reason. With an index of shards (*.index.json) its shards are wanted, too.

    Args:
        repo: "owner/name".
        revision: a branch, a tag or a commit; empty for "main".
        choose: gives the wanted ones of all file names; raises UserError if none is usable. It is called with the
            files in the cache, which may be fewer than the repository has, and with those of the repository. A file
            that it names although it is not among them makes the cache incomplete.
        by_hand: what else a user can do who cannot reach the hub.

    Raises:
        UserError: if repository or revision do not exist, or the files are not in the cache and cannot be downloaded.
    """
    _require_names(repo, revision)
    if _COMMIT.fullmatch(revision):
        found, _ = _in_cache(repo, revision, choose)
        if found:
            return found
    try:
        return _download(repo, revision or "main", choose, by_hand)
    except Unreached as error:
        found, lacking = _in_cache(repo, revision, choose)
        if not found:
            raise UserError(f"{_full(repo, revision)}: {error}, and {lacking}; {error.advice}, {by_hand}") from None
        if error.told:
            text = f"{_full(repo, revision)}: commit {found.commit} of the cache was used, because {error}"
            warnings.warn(text, stacklevel=2)
        return found


def cached(repo: str, revision: str = "") -> Snapshot | None:
    """What the cache has of a revision, complete or not; the hub is not asked.

    Raises:
        UserError: on impossible names, or if the cache cannot be read.
    """
    _require_names(repo, revision)
    commit = revision if _COMMIT.fullmatch(revision) else commit_of(_place(repo) / "refs" / (revision or "main"))
    folder = _place(repo) / "snapshots" / commit
    try:
        return Snapshot(folder, commit, repo) if commit and folder.is_dir() else None
    except OSError as error:
        raise UserError(f"cannot read {folder} ({error.strerror})") from None


def address_of(folder: Path) -> tuple[str, str]:
    """("owner/name", commit) of a snapshot's folder in a cache; two empty texts for other folders."""
    owner = folder.parent.parent.name.split("--")
    if folder.parent.name != "snapshots" or len(owner) != 3 or owner[0] != "models":
        return "", ""
    return "/".join(owner[1:]), folder.name


def check_blob(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, which in a hub's cache must be the name of its blob.

    That holds for large files. Small ones are named by git's hash (40 hex digits), and without links no file is named
    by a hash: these are not checked.

    Raises:
        UserError: if there is no such file, or its blob has another hash.
    """
    try:
        open_regular(path).close()  # reading a pipe would block
        digest = sha256_of(path)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error})") from None
    blob = _blob_of(path)
    if blob and blob.name != digest:
        raise UserError(
            f"{path} is damaged: its SHA-256 is {digest[:12]}..., and its name in the cache says {blob.name[:12]}...; "
            f"delete {blob.resolve()} and download it again"
        )
    return digest


def _blob_of(path: Path) -> Path | None:
    """The file blobs/<SHA-256> that a path is or leads to. If repositories share blobs, it is a link itself."""
    for _ in range(40):  # as many links in a row as systems follow
        if path.parent.name == "blobs" and _SHA256.fullmatch(path.name):
            return path
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return None


def _full(repo: str, revision: str) -> str:
    return f"{PREFIX}{repo}@{revision or 'main'}"


def _cache() -> Path:
    """The cache's folder, as huggingface_hub finds it."""
    given = os.environ.get
    home = given("HF_HOME") or f"{given('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    folder = given("HF_HUB_CACHE") or given("HUGGINGFACE_HUB_CACHE") or f"{home}/hub"
    return paths.of_user(os.path.expandvars(folder))


def _place(repo: str) -> Path:
    return _cache() / "--".join(["models", *repo.split("/")])


def commit_of(ref: Path) -> str:
    """The commit that a file of refs/ names; empty if there is no such file."""
    try:
        commit = read_text(ref).strip()
    except FileNotFoundError:
        return ""
    if not _COMMIT.fullmatch(commit):
        raise UserError(f"{ref} is damaged: it names no commit; delete it")
    return commit


def _in_cache(repo: str, revision: str, choose: Choose) -> tuple[Snapshot | None, str]:
    """(the snapshot in the cache, if nothing is missing; what is missing, in words)."""
    found = cached(repo, revision)
    if not found:
        return None, f"the cache {_cache()} does not have it"
    there = _files(found.folder)
    try:
        wanted = choose(there)
    except UserError as error:
        return None, f"commit {found.commit} in the cache {_cache()} does not have what is needed ({error})"
    missing = sorted(set(wanted) - set(there)) or sorted(set(_shards(found.folder, wanted)) - set(there))
    return (None, f"commit {found.commit} in the cache {_cache()} lacks {missing[0]}") if missing else (found, "")


def _files(folder: Path) -> list[str]:
    """Names of all files in a folder, "/" between their parts; broken links are left out."""
    try:
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    except OSError as error:
        raise UserError(f"cannot read {folder} ({error.strerror})") from None


def _shards(folder: Path, names: Sequence[str]) -> list[str]:
    """Files that the indices among `names` list; they are in their index's folder."""
    indices = [name for name in names if name.endswith(_INDEX)]
    return sorted({str(PurePosixPath(name).with_name(one)) for name in indices for one in shard_names(folder / name)})


def _download(repo: str, revision: str, choose: Choose, by_hand: str) -> Snapshot:
    """The snapshot as the hub has it; files that are already in the cache are not downloaded."""
    client, name = package(), _full(repo, revision)
    info = answer(name, lambda: client.HfApi().model_info(repo, revision=revision, files_metadata=True))
    commit = str(info.sha)
    sizes = {str(one.rfilename): getattr(one, "size", None) or 0 for one in info.siblings or ()}
    if not _COMMIT.fullmatch(commit) or (_COMMIT.fullmatch(revision) and commit != revision):
        raise UserError(f"{name}: the hub says that it is commit {commit[:80]!r}: set another HF_ENDPOINT, {by_hand}")
    try:
        wanted = sorted(choose(list(sizes)), key=lambda file: file.endswith(_WEIGHTS))  # cut short, it has no weights
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    found = Snapshot(_place(repo) / "snapshots" / commit, commit, repo)

    def fetch(file: str) -> None:
        _require_listed(file, sizes, f"{name} at commit {commit}")
        answer(name, lambda: client.hf_hub_download(repo, file, revision=commit, cache_dir=str(_cache())))
        if not (found.folder / file).is_file():
            raise UserError(f"{name}: the hub gave {file} of another commit than {commit}: set another HF_ENDPOINT")

    for file in wanted:
        fetch(file)
    for file in _shards(found.folder, wanted):
        fetch(file)
    if revision != commit:
        _remember(_place(repo) / "refs" / revision, commit)
    return found


def _require_listed(file: str, sizes: Mapping[str, int], where: str) -> None:
    """Raise UserError unless a snapshot has a file of this name, of a possible size for weights."""
    if file not in sizes or "\\" in file or {"", ".", ".."} & set(file.split("/")):
        raise UserError(f"{where} has no file {file!r}")
    if sizes[file] > _MOST_BYTES:
        raise UserError(f"{where}: {file} has {sizes[file]:,} bytes, more than weights of a CLIP have: not downloaded")


def _remember(ref: Path, commit: str) -> None:
    """Note which commit a revision is, for use offline: a download by commit does not note it."""
    with contextlib.suppress(UserError):
        if commit_of(ref) == commit:
            return
    try:
        write_whole(ref, commit)
    except OSError as error:
        warnings.warn(f"{ref} cannot be written ({error.strerror or error}): offline, it is not found", stacklevel=4)
