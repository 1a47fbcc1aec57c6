"""Uploading trained prompts to a repository of a Hugging Face hub, laid out as runs' folders with a card, and back.

A push is one commit, all of it or nothing. A pull is one commit, of which only the card and checkpoints are used, which
are read as weights before they are put in place.
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.clip import hub
from modprompt.clip.hub import ask
from modprompt.errors import UserError
from modprompt.io import checkpoint
from modprompt.io.checkpoint import POINTER, Checkpoint
from modprompt.io.files import copy_whole, of_user, sha256_of, write_json
from modprompt.methods.table import BY_NAME

CARD, ORIGIN = "README.md", "pulled.json"
_WEIGHTS = re.compile(r"model[A-Za-z0-9_.-]{0,100}")
_DEEPEST = 12  # folders
_BY_HAND = "or download it by hand: modprompt reads the folder"
Content = Path | bytes


class Pulled(NamedTuple):
    """What was downloaded: where it is, its commit, and the folders of runs in it, which modprompt.load reads."""

    folder: Path
    commit: str
    runs: list[Path]


def is_weights(name: str) -> bool:
    """Whether a file of a repository is a checkpoint, by its name: in a folder, and named as runs name theirs."""
    *folders, file = name.split("/")
    plain = 1 <= len(folders) <= _DEEPEST and not {"", ".", ".."} & set(folders)
    return plain and bool(_WEIGHTS.fullmatch(file))


def _is_ours(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return name == CARD or is_weights(name) or (file == POINTER and is_weights(f"{folder}/model"))


def files_of(content: Checkpoint, path: Path, below: str = "") -> dict[str, Content]:
    """A checkpoint as the files of a run's folder, by their names in the repository.

    Args:
        content: its content.
        path: the checkpoint.
        below: the run's folder in the repository; empty: the repository is one run.

    Raises:
        UserError: if it does not say what it is.
    """
    if not content.record:
        raise UserError(
            f"{path} does not say what it is (it is the family's), so nobody could load it: "
            "load it with modprompt.load, save it with .save, and push that file"
        )
    name = content.record["method"]["name"]
    folder = BY_NAME[name].method.saved_as.folder if name in BY_NAME else "prompt_learner"
    file = "model.safetensors" if path.suffix == ".safetensors" else f"model.pth.tar-{content.epoch}"
    place = f"{below}/{folder}" if below else folder
    return {f"{place}/{file}": path, f"{place}/{POINTER}": f"{file}\n".encode()}


def push(repo: str, files: Mapping[str, Content], private: bool = False, replace: bool = False) -> str:
    """Put files into a repository as one commit; a missing repository is created.

    Args:
        repo: "owner/name".
        files: by their names there.
        private: create it as a private one; an existing public one is refused then.
        replace: remove its present weights; its history keeps them.

    Returns:
        The commit.

    Raises:
        UserError: if the hub cannot be asked or refuses, or the repository has weights already.
    """
    name, revision = hub.of_user(repo)
    if revision:
        raise UserError(f"{repo}: a push goes to the repository's main branch: leave out @{revision}")
    ask(name, lambda client: client.HfApi().create_repo(name, private=private, exist_ok=True))
    info = ask(name, lambda client: client.HfApi().model_info(name))
    if private and info.private is False:
        raise UserError(f"{name} exists already and is public: push to another repository, or without --private")
    there = sorted(str(one.rfilename) for one in info.siblings or () if is_weights(str(one.rfilename)))
    if there and not replace:
        raise UserError(
            f"{name} has weights already ({there[0]}; {len(there)} in all): push to another repository, or --replace "
            "them, which its history keeps"
        )
    gone = [one for one in there if one not in files]
    commit = ask(name, lambda client: _commit(client, name, files, gone))
    return str(commit.oid)


def _commit(client: Any, repo: str, files: Mapping[str, Content], gone: Sequence[str]) -> Any:
    add, delete = client.CommitOperationAdd, client.CommitOperationDelete
    operations = [add(name, content if isinstance(content, bytes) else str(content)) for name, content in files.items()]
    operations += [delete(name) for name in gone]
    message = f"modprompt: {sum(map(is_weights, files))} checkpoints"
    return client.HfApi().create_commit(repo, operations, commit_message=message)


def pull(name: str, folder: str | Path = "") -> Pulled:
    """Download what `push` has put into a repository.

    Args:
        name: "owner/name", or "owner/name@revision".
        folder: where to put it; must not exist yet. By default the repository's name, in the current folder.

    Raises:
        UserError: if the hub or the cache does not have it, or it has no whole checkpoint; nothing is written then.
    """
    repo, revision = hub.of_user(name)
    goal = of_user(folder or repo.rpartition("/")[2])
    if os.path.lexists(goal):
        raise UserError(f"{goal} exists already: give another folder")
    found = hub.snapshot(repo, revision, _chosen, _BY_HAND)
    names = _chosen(found.files())
    for one in filter(is_weights, names):
        checkpoint.read(found.folder / one)  # as weights; whatever else a file holds is refused
    with _whole(goal) as aside:
        for one in names:
            copy_whole(found.folder / one, aside / one)
        hashes = {one: sha256_of(aside / one) for one in names}
        write_json(aside / ORIGIN, {"repo": repo, "commit": found.commit, "sha256": hashes})
    runs = sorted({(goal / one).parent.parent for one in filter(is_weights, names)})
    return Pulled(goal, found.commit, runs)


def _chosen(names: Sequence[str]) -> list[str]:
    chosen = sorted(name for name in names if _is_ours(name))
    if not any(map(is_weights, chosen)):
        raise UserError("it has no checkpoints of modprompt, as modprompt push puts there")
    return chosen


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A new folder under another name that becomes `folder` if the block succeeds, and is removed otherwise."""
    aside = folder.absolute().with_name(f".{folder.name}.{secrets.token_hex(8)}.part")
    try:
        aside.mkdir(parents=True)
        yield aside
        aside.rename(folder)
    except OSError as error:
        raise UserError(f"cannot write {folder} ({error.strerror})") from None
    finally:
        shutil.rmtree(str(aside), ignore_errors=True)
