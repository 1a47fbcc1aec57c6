"""Repositories on the Hugging Face hub: their commits, and downloading their files."""

import glob
import importlib
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from modprompt.errors import UserError

PREFIX = "hf-hub:"
_COMMIT = re.compile("[0-9a-f]{40}")
_BY_HAND = "Download the repository by hand and set MODEL.BACKBONE.PATH to its folder."
Choose = Callable[[Sequence[str]], Sequence[str]]  # the wanted of these files; UserError if one that is needed lacks
T = TypeVar("T")


class Unreached(UserError):
    """The hub cannot be reached."""


class Snapshot(NamedTuple):
    """One commit of a repository in the cache, with the files that were downloaded."""

    folder: Path  # snapshots/<commit> in the cache
    commit: str  # 40 hex digits

    def files(self) -> list[str]:
        """Return the relative paths of the files, with forward slashes."""
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())


def package() -> Any:
    """Return the package huggingface_hub; raise UserError if it is not installed."""
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(
            f"The Hugging Face hub needs the package huggingface_hub ({error}). Run `pip install huggingface_hub "
            "Jinja2`."
        ) from None


def of_user(name: str) -> tuple[str, str]:
    """Parse the name of a repository as `parse` does, with or without the prefix hf-hub:."""
    return parse(name if name.startswith(PREFIX) else PREFIX + name)


def parse(name: str) -> tuple[str, str]:
    """Return ("owner/name", revision or "") for "hf-hub:owner/name@revision"; raise UserError for other names."""
    repo, mark, revision = name.removeprefix(PREFIX).partition("@")
    whole = re.fullmatch("[^/]+/[^/]+", repo) and bool(mark) == bool(revision) and ".." not in name
    if not (name.startswith(PREFIX) and whole):
        form = f"{PREFIX}owner/name or {PREFIX}owner/name@revision"
        raise UserError(f"{name!r} is not the name of a repository on the Hugging Face hub. Write {form}.")
    return repo, revision


def ask(what: str, call: Callable[[Any], T]) -> T:
    """Return the result of a call of huggingface_hub; raise UserError if the hub refuses it, or Unreached."""
    client = package()
    try:
        return call(client)
    except Exception as error:  # of its own, of HTTP, of the system
        said = re.sub(r"hf_\w+", "hf_***", " ".join(str(error).split())[:300])  # servers repeat tokens
        if 400 <= getattr(getattr(error, "response", None), "status_code", 0) < 500:
            raise UserError(
                f"{what}: the Hugging Face hub rejected the request ({said}). Check the name, the revision and your "
                "access token."
            ) from None
        raise Unreached(
            f"{what}: the Hugging Face hub cannot be reached ({said}). Check the network connection."
        ) from None


def cached(repo: str, revision: str = "") -> Snapshot | None:
    """Return the cached files of a revision, without asking the hub, or None if there are none."""
    try:
        told: dict[str, Any] = {"revision": revision or None, "local_files_only": True, "allow_patterns": []}
        folder = Path(package().snapshot_download(repo, **told))  # no pattern: any of its files may lack
    except Exception:  # of its own, of the system
        return None
    return Snapshot(folder, folder.name)


def snapshot(repo: str, revision: str, choose: Choose, by_hand: str = _BY_HAND) -> Snapshot:
    """Return a snapshot of a repository ("owner/name") with the chosen files, which are downloaded if necessary.

    If the revision is not a full commit in the cache, the hub is asked for the commit. If it cannot be reached, the
    commit in the cache is used, with a warning unless HF_HUB_OFFLINE is set.

    Raises:
        UserError: if the repository, revision or files do not exist or cannot be downloaded. The message ends with
            `by_hand`.
    """
    name, there, lacks = f"{PREFIX}{repo}@{revision or 'main'}", cached(repo, revision), ""
    try:
        choose(there.files() if there else [])
    except UserError as error:
        lacks = str(error)
    if there and not lacks and _COMMIT.fullmatch(revision):
        return there
    try:
        info = ask(name, lambda client: client.HfApi().model_info(repo, revision=revision or None))
    except Unreached as error:
        if there is None or lacks:
            raise UserError(
                f"{error} Required files are also missing in the local cache ({lacks.rstrip('.')}). {by_hand}"
            ) from None
        if not package().constants.HF_HUB_OFFLINE:
            warnings.warn(f"Using commit {there.commit} from the local cache. {error}", stacklevel=2)
        return there
    try:
        wanted = [glob.escape(one) for one in choose([str(one.rfilename) for one in info.siblings or ()])]
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    told = {"revision": revision or None, "allow_patterns": wanted}
    folder = Path(ask(name, lambda client: client.snapshot_download(repo, **told)))
    return Snapshot(folder, folder.name)
