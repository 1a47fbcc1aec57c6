"""The card of a shared run: a repository's README, from the records of the checkpoint and its result."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from modprompt.clip.hub import PREFIX
from modprompt.data.rounds import labels_in
from modprompt.io import pages
from modprompt.io.checkpoint import Checkpoint
from modprompt.io.images import mark_of
from modprompt.io.same_run import NAMED
from modprompt.io.text import one_line
from modprompt.methods.named_files import FRONT
from modprompt.methods.table import HEADS, kind_of

_MOST_CLASSES = 50  # named in a card
_MEASURED = {"accuracy_pct": "accuracy", "macro_f1_pct": "macro F1", "top5_pct": "top-5 accuracy", "ece_pct": "ECE"}
_PATHS = tuple(end for ends in NAMED.values() for end in ends)  # settings with paths on the machine that trained


def header(
    method: str, clip: Mapping[str, Any], license_id: str = "", results: Sequence[tuple[str, float]] = ()
) -> str:
    """The part of a card that a hub reads: YAML between two lines of dashes.

    Args:
        method: its name.
        clip: what is known of the CLIP.
        license_id: a hub's name of it; empty: none is stated.
        results: (data set, accuracy in percent) pairs.
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
        "base_model": name[len(PREFIX) :].partition("@")[0] if name.startswith(PREFIX) else "",
        "model-index": [{"name": method or "modprompt", "results": measured}] if measured else [],
    }
    return f"---\n{yaml.safe_dump({key: one for key, one in values.items() if one}, sort_keys=False)}---\n"


def how_to_load(repo: str, clip: Mapping[str, Any], run: str = "") -> dict[str, str]:
    """The values of the template how_to_load.md.j2, for a repository "owner/name" and the folder of a run in it."""
    folder = repo.rpartition("/")[2] + (f"/{run}" if run else "")
    return {"repo": repo, "folder": folder, "file": str(clip.get("file") or "")}


def card_of_run(content: Checkpoint, repo: str, result: Mapping[str, Any] | None = None, license_id: str = "") -> str:
    """The card of one run: data, method, numbers with the seed, how to load.

    Args:
        content: of its checkpoint, which says what it is.
        repo: "owner/name".
        result: of the run, if it is known to have tested this checkpoint.
        license_id: a hub's name of it.
    """
    result, settings, clip, method = result or {}, content.settings, content.clip, content.record["method"]
    dataset = str(result.get("dataset") or settings.get("DATASET.NAME", ""))
    names, marked, front = content.record["classes"]["names"], mark_of(result), method.get(FRONT)
    percents = {name: result.get(key) for key, name in _MEASURED.items()}
    numbers = {name: f"{value:.2f}%" for name, value in percents.items() if isinstance(value, (int, float))}
    is_measured = bool(dataset) and "accuracy" in numbers
    used = {key: text for key, text in method["config"].items() if text not in ("", [], ())}
    return pages.markdown(
        "use/card.md.j2",
        header=header(
            method["name"], clip, license_id, [(dataset, result["accuracy_pct"])] if is_measured and not marked else []
        ),
        title=f"{method['name']} on {dataset}" if dataset else method["name"],
        dataset=dataset,
        result=result,
        run=settings,
        method=method["name"],
        is_head=kind_of(method["name"]) == HEADS,
        front=front["name"] if isinstance(front, Mapping) else "",
        settings=[f"{key} {text}" for key, text in used.items() if not f"{method['node']}.{key}".endswith(_PATHS)],
        epochs=content.epoch,
        versions=content.record.get("versions", {}),
        clip=clip,
        clip_name=str(clip.get("file") or clip.get("name") or "a CLIP without a name"),
        labels=labels_in(result),
        shots=str(result.get("shots", settings.get("DATASET.NUM_SHOTS", ""))),
        names=names,
        shown=names[:_MOST_CLASSES],
        marked=marked,
        numbers=numbers if is_measured else {},
        **how_to_load(repo, clip),
    )
