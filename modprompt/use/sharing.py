"""Uploading trained prompts to a repository of a Hugging Face hub, laid out as runs' folders with a card, and back.

The card is the repository's README, from the records of a checkpoint and its result.

A push is one commit, all of it or nothing. A pull is one commit, of which only the card, checkpoints and their
descriptions (config.json) are used; checkpoints are read as weights before they are put in place.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from modprompt.clip import hub
from modprompt.data.rounds import labels_in
from modprompt.errors import UserError
from modprompt.io import checkpoint, pages
from modprompt.io.base_new import APART, NAMES
from modprompt.io.checkpoint import DESCRIPTION, POINTER, Checkpoint
from modprompt.io.files import is_inside, of_user, sha256_of, write_json
from modprompt.io.result import mark_of
from modprompt.io.text import one_line
from modprompt.methods.base import Method
from modprompt.methods.loading import load
from modprompt.methods.model import PromptedModel
from modprompt.methods.named_files import FRONT
from modprompt.methods.records import contents_named
from modprompt.methods.table import BY_NAME, HEADS, kind_of

CARD, ORIGIN = "README.md", "pulled.json"
_OURS = re.compile(  # in folders, as of runs
    rf"{CARD}|((?!\.)[^/]+/)*(?P<description>{re.escape(DESCRIPTION)})|((?!\.)[^/]+/)+({POINTER}|(?P<weights>model[\w.-]*))"
)
_MOST_CLASSES = 50  # named in a card
_TOP = 5  # of so many classes or fewer a top-5 accuracy says nothing
_MEASURED = {"accuracy_pct": "accuracy", "macro_f1_pct": "macro F1", "top5_pct": "top-5 accuracy", "ece_pct": "ECE"}


def lay_out(file: Path, folder: Path) -> Checkpoint:
    """Copy a checkpoint into a folder, as a run has it there; UserError if it does not say what it is."""
    content = checkpoint.read(file)
    if not content.record:
        raise UserError(
            f"{file} was written by a Dassl-based codebase and contains no modprompt metadata, so the file could not "
            "be loaded after the upload. Load the file with modprompt.load, save the model with .save, and push the "
            "saved file."
        )
    method = BY_NAME.get(content.record["method"]["name"])
    place = folder / (method.method.saved_as.folder if method else "prompt_learner")
    name = "model.safetensors" if file.suffix == ".safetensors" else f"model.pth.tar-{content.epoch}"
    place.mkdir(parents=True)
    shutil.copyfile(file, place / name)
    checkpoint.write_description(folder, place / name, content.record)
    return content


def from_pretrained(
    source: str | Path,
    clip: nn.Module | str | Path | None = None,
    *,
    method: type[Method] | None = None,
    subfolder: str = "",
    device: str | torch.device | None = None,
) -> PromptedModel:
    """Return the model that `save_pretrained`, `modprompt push` or a run has saved, in eval mode.

        model = modprompt.from_pretrained("owner/name", device="cpu")
        logits = model(model.preprocess(image)[None])

    Only what was learned is read; the CLIP is loaded by the name that the file has for it.

    Args:
        source: a folder, or a repository of a Hugging Face hub, "owner/name" or "owner/name@revision". A folder wins
            over a repository of that name.
        clip: the CLIP, or what load_clip accepts; without it the one that the file names.
        method: for a method that is not modprompt's, its class.
        subfolder: which folder in the source, if it contains several models.
        device: where to load the CLIP; CUDA if there is a GPU, else the CPU. Not for a clip that is a module.

    Raises:
        UserError: if there is no such folder or repository, it contains no model or several, its config.json was
            changed, or the model cannot be loaded (as `load`).
    """
    folder = of_user(source)
    if not folder.exists():
        try:
            repo, revision = hub.of_user(str(source))
        except UserError:
            raise UserError(
                f"{source} is neither an existing folder nor the name of a repository on the Hugging Face hub. Use "
                "the folder of a saved model, or a repository name of the form owner/name."
            ) from None
        folder = hub.snapshot(
            repo, revision, _ours, "Download the repository by hand and pass the path of its folder."
        ).folder
    if subfolder and not is_inside(subfolder):
        raise UserError(f"The subfolder {subfolder!r} is outside {source}. Use a relative path inside {source}.")
    place = folder / subfolder
    if place.is_dir() and not checkpoint.model_folders(place):
        files = _weights(path.relative_to(place).as_posix() for path in place.rglob("model*"))
        runs = sorted({Path(file).parent.parent.as_posix() for file in files})
        if runs:
            raise UserError(
                f"{place} contains no model, but {len(runs)} subfolder{' does' if len(runs) == 1 else 's do'}. "
                f"Choose a subfolder, e.g. subfolder={runs[0]!r}."
            )
    if place.is_dir():
        checkpoint.require_description(place, checkpoint.chosen_checkpoint(place))
    return load(place, clip, method=method, device=device)


def push(repo: str, folder: Path, private: bool = False, replace: bool = False) -> str:
    """Put a folder's files into a repository ("owner/name") as one commit, which is returned.

    A missing repository is created, as a private one if asked for; an existing public one is refused then. `replace`
    removes its present weights; its history keeps them. Raises UserError if the hub cannot be asked or refuses, or the
    repository has weights already.
    """
    name, revision = hub.of_user(repo)
    if revision:
        raise UserError(
            f"{repo} names a revision, but files can only be pushed to the main branch. Remove @{revision}."
        )
    hub.ask(name, lambda client: client.HfApi().create_repo(name, private=private, exist_ok=True))
    info = hub.ask(name, lambda client: client.HfApi().model_info(name))
    if private and info.private is False:
        raise UserError(
            f"The repository {name} already exists and is public, so --private is not possible. "
            "Push to another repository, or remove --private."
        )
    names = [file.rfilename for file in info.siblings or ()]
    weights = _weights(names)
    if weights and not replace:
        raise UserError(
            f"The repository {name} already contains {len(weights)} checkpoint{'' if len(weights) == 1 else 's'} "
            f"(e.g. {weights[0]}). Push to another repository, or replace the checkpoints with --replace "
            "(the Git history keeps the old files)."
        )
    descriptions = [one for one in names if (match := _OURS.fullmatch(one)) and match["description"]]
    told = {"repo_id": name, "folder_path": folder, "delete_patterns": [*weights, *descriptions] if weights else None}
    return str(hub.ask(name, lambda client: client.HfApi().upload_folder(**told, commit_message="modprompt push")).oid)


def pull(name: str, folder: str | Path = "") -> tuple[Path, str, list[Path]]:
    """Download what `push` has put into a repository: where it is then, its commit, and the folders of runs in it.

    `name` is "owner/name" or "owner/name@revision", `folder` must not exist yet; by default it is the repository's
    name, in the current folder. Raises UserError if the hub or the cache does not have it, or it has no whole
    checkpoint, OSError if the folder cannot be written; nothing is left then.
    """
    repo, revision = hub.of_user(name)
    goal = of_user(folder or repo.rpartition("/")[2])
    if os.path.lexists(goal):
        raise UserError(f"The folder {goal} already exists. Choose another folder.")
    snapshot = hub.snapshot(repo, revision, _ours, "Download the repository by hand and use the path of its folder.")
    names = _ours(snapshot.files())
    for file in _weights(names):
        checkpoint.read(snapshot.folder / file)  # as weights; whatever else a file holds is refused
    goal.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{goal.name}.", dir=goal.parent) as aside:
        copy = Path(aside, goal.name)
        for file in names:
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(snapshot.folder / file, copy / file)
        hashes = {file: sha256_of(copy / file) for file in names}
        write_json(copy / ORIGIN, {"repo": repo, "commit": snapshot.commit, "sha256": hashes})
        copy.rename(goal)
    return goal, snapshot.commit, sorted({(goal / file).parent.parent for file in _weights(names)})


def _weights(names: Iterable[str]) -> list[str]:
    """The checkpoints among the files of a repository, by their names."""
    return sorted(name for name in names if (match := _OURS.fullmatch(name)) and match["weights"])


def _ours(names: Sequence[str]) -> list[str]:
    """The files of a repository that are ours; UserError if none of them is a checkpoint."""
    if not _weights(names):
        raise UserError("the repository contains no checkpoint uploaded by `modprompt push`")
    return sorted(filter(_OURS.fullmatch, names))


def header(
    method: str, clip: Mapping[str, Any], license_id: str = "", results: Sequence[tuple[str, float]] = ()
) -> str:
    """The part of a card that a hub reads: YAML between two lines of dashes.

    `clip` is what is known of the CLIP, `license_id` a hub's name, `results` are (data set, accuracy in percent) pairs.
    """
    name = str(clip.get("name") or "")
    measured = [
        {
            "task": {"type": "image-classification"},
            "dataset": {"name": one_line(dataset), "type": one_line(dataset)},
            "metrics": [{"type": "accuracy", "value": round(accuracy_pct, 2)}],
        }
        for dataset, accuracy_pct in results
    ]
    values = {
        "library_name": "modprompt",
        "license": license_id,
        "pipeline_tag": "zero-shot-image-classification",
        "tags": ["clip", "prompt-learning", *([method.lower()] if method else [])],
        "base_model": name[len(hub.PREFIX) :].partition("@")[0] if name.startswith(hub.PREFIX) else "",
        "model-index": [{"name": method or "modprompt", "results": measured}] if measured else [],
    }
    return f"---\n{yaml.safe_dump({key: one for key, one in values.items() if one}, sort_keys=False)}---\n"


def how_to_load(repo: str, clip: Mapping[str, Any], run: str = "", module: str = "") -> dict[str, str]:
    """The values of the template how_to_load.md.j2, for a repository "owner/name" and the folder of a run in it.

    `module` is that of a method that is not modprompt's.
    """
    folder = repo.rpartition("/")[2] + (f"/{run}" if run else "")
    named = module if all(map(str.isidentifier, module.split("."))) else ""  # a file may say anything
    return {"repo": repo, "folder": folder, "file": str(clip.get("file") or ""), "module": named}


def _in_words(halves: Mapping[str, Any]) -> str:
    of_each = (f"{name} {halves[name]['accuracy_pct']:.2f}%" for name in NAMES)
    return f"{', '.join(of_each)} (each half is classified among its own classes); harmonic mean {halves['h_pct']:.2f}%"


def card_of_run(content: Checkpoint, repo: str, result: Mapping[str, Any] | None = None, license_id: str = "") -> str:
    """The card of one run, by its checkpoint: data, method, numbers with the seed, how to load it from "owner/name".

    `result` is the run's, if it is known to have tested this checkpoint.
    """
    result, settings, clip, method = result or {}, content.settings, content.clip, content.record["method"]
    dataset = str(result.get("dataset") or settings.get("DATASET.NAME", ""))
    names, marked, front = content.record["classes"]["names"], mark_of(result), method.get(FRONT)
    halves = result.get(APART)
    told = _MEASURED.keys() - ({"top5_pct"} if len(names) // (2 if halves else 1) <= _TOP else set())
    percents = {name: result.get(key) for key, name in _MEASURED.items() if key in told}
    numbers = {name: f"{value:.2f}%" for name, value in percents.items() if isinstance(value, (int, float))}
    is_measured = bool(dataset) and "accuracy" in numbers
    is_compared = is_measured and not marked and not halves  # by a hub, which knows neither
    row = BY_NAME.get(method["name"])
    named = contents_named(row.method) if row else {}
    paths = {key.rpartition(".")[2] for key in named}  # of the machine that trained
    used = {key: text for key, text in method["config"].items() if text not in ("", [], ())}
    return pages.markdown(
        "use/card.md.j2",
        header=header(method["name"], clip, license_id, [(dataset, result["accuracy_pct"])] if is_compared else []),
        title=f"{method['name']} on {dataset}" if dataset else method["name"],
        dataset=dataset,
        result=result,
        run=settings,
        method=method["name"],
        is_head=kind_of(method["name"]) == HEADS,
        front=front["name"] if isinstance(front, Mapping) else "",
        settings=[f"{key} {text}" for key, text in used.items() if key not in paths],
        epochs=content.epoch,
        versions=content.record.get("versions", {}),
        clip=clip,
        clip_name=str(clip.get("file") or clip.get("name") or "an unnamed CLIP"),
        labels=labels_in(result),
        shots=str(result.get("shots", settings.get("DATASET.NUM_SHOTS", ""))),
        names=names,
        shown=names[:_MOST_CLASSES],
        marked=marked,
        numbers=numbers if is_measured else {},
        apart=_in_words(halves) if halves else "",
        **how_to_load(repo, clip, module=str(method.get("module", ""))),
    )
