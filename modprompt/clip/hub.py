"""Repositories of a Hugging Face hub, by huggingface_hub: which commit, and which of its files."""

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
    """The hub cannot be asked; it has not refused."""


class Snapshot(NamedTuple):
    """One commit of a repository in the cache; files that nobody has asked for are missing."""

    folder: Path  # snapshots/<commit> in the cache
    commit: str  # 40 hex digits

    def files(self) -> list[str]:
        """Names of its files, "/" between their parts."""
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())


def package() -> Any:
    """The package huggingface_hub; UserError if it is not installed."""
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(
            f"The Hugging Face hub needs the package huggingface_hub ({error}). Run `pip install huggingface_hub "
            "Jinja2`."
        ) from None


def of_user(name: str) -> tuple[str, str]:
    """As parse, for what a user writes where only a repository is possible: the prefix may be left out."""
    return parse(name if name.startswith(PREFIX) else PREFIX + name)


def parse(name: str) -> tuple[str, str]:
    """("owner/name", revision or "") of "hf-hub:owner/name@revision"; UserError if a name is not of that form."""
    repo, mark, revision = name.removeprefix(PREFIX).partition("@")
    whole = re.fullmatch("[^/]+/[^/]+", repo) and bool(mark) == bool(revision) and ".." not in name
    if not (name.startswith(PREFIX) and whole):
        form = f"{PREFIX}owner/name or {PREFIX}owner/name@revision"
        raise UserError(f"{name!r} is not the name of a repository on the Hugging Face hub. Write {form}.")
    return repo, revision


def ask(what: str, call: Callable[[Any], T]) -> T:
    """What a call with the package gives; UserError about `what` if the hub refuses, Unreached if it is not reached."""
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
    """What the cache has of a revision, complete or not; the hub is not asked. None without the package, too."""
    try:
        told: dict[str, Any] = {"revision": revision or None, "local_files_only": True, "allow_patterns": []}
        folder = Path(package().snapshot_download(repo, **told))  # no pattern: any of its files may lack
    except Exception:  # of its own, of the system
        return None
    return Snapshot(folder, folder.name)


def snapshot(repo: str, revision: str, choose: Choose, by_hand: str = _BY_HAND) -> Snapshot:
    """The snapshot of a repository ("owner/name") with the chosen files, downloaded if they are not in the cache.

    A full commit that the cache has is used without asking; for anything else the hub says which commit it is. If it
    cannot be reached, the commit that the cache knows is used, with a warning unless HF_HUB_OFFLINE says so. Raises
    UserError if repository, revision or files do not exist, or cannot be downloaded: `by_hand` says what else to do.
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
