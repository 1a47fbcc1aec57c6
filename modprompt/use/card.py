"""The card of a shared run: a repository's README, from the records of the checkpoint and its result."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from modprompt.clip.hub import PREFIX
from modprompt.data.rounds import labels_in
from modprompt.errors import UserError
from modprompt.io import pages
from modprompt.io.checkpoint import Checkpoint
from modprompt.io.images import mark_of
from modprompt.io.same_run import NAMED
from modprompt.io.text import one_line
from modprompt.methods.named_files import FRONT
from modprompt.methods.table import HEADS, kind_of

_OF_OTHERS = (
    "What a head has learned of single classes says nothing of others: for these it uses the features before it."
)
_MOST_CLASSES = 50  # named in a card
_ALL_IMAGES = re.compile(r"-\d+|0")  # shots of earlier results and of settings: below 1 means all images
_MEASURED = {"accuracy_pct": "accuracy", "macro_f1_pct": "macro F1", "top5_pct": "top-5 accuracy", "ece_pct": "ECE"}
_SPLIT = "split (published, or ours), its SHA-256"
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

    Raises:
        UserError: if huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import EvalResult, ModelCardData
    except ImportError:
        raise UserError("huggingface_hub is not installed; pip install huggingface_hub safetensors Jinja2") from None
    name = str(clip.get("name") or "")
    measured = [
        EvalResult(
            task_type="image-classification",
            dataset_type=one_line(dataset),
            dataset_name=one_line(dataset),
            metric_type="accuracy",
            metric_value=round(accuracy_pct, 2),
        )
        for dataset, accuracy_pct in results
    ]
    data = ModelCardData(
        library_name="modprompt",
        pipeline_tag="zero-shot-image-classification",
        tags=["clip", "prompt-learning", *([method.lower()] if method else [])],
        license=license_id or None,
        base_model=name[len(PREFIX) :].partition("@")[0] if name.startswith(PREFIX) else None,
        model_name=(method or "modprompt") if measured else None,
        eval_results=measured or None,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def how_to_load(repo: str, clip: Mapping[str, Any], run: str = "") -> dict[str, str]:
    """The values of the template how_to_load.md.j2.

    Args:
        repo: "owner/name".
        clip: what is known of the CLIP, which is not in the repository.
        run: the folder of a run in the repository.
    """
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
    accuracy, marked, labels = result.get("accuracy_pct"), mark_of(result), labels_in(result)
    measured = [(dataset, accuracy)] if dataset and isinstance(accuracy, (int, float)) else []
    values = {name: result.get(key) for key, name in _MEASURED.items()}
    numbers = {name: f"{value:.2f}%" for name, value in values.items() if isinstance(value, (int, float))}
    if result.get("images"):
        numbers["measured on"] = f"{result['images']} {result.get('tested_on') or 'test'} images"
    numbers |= {"seed": str(result.get("seed", "")), "beyond the usual rule": marked}
    names, is_head = content.record["classes"]["names"], kind_of(method["name"]) == HEADS
    more = f" and {len(names) - _MOST_CLASSES} more" if len(names) > _MOST_CLASSES else ""
    given = {key: text for key, text in method["config"].items() if text not in ("", [], ())}
    shown = [f"{key} {text}" for key, text in given.items() if not f"{method['node']}.{key}".endswith(_PATHS)]
    name, commit = str(clip.get("file") or clip.get("name") or "a CLIP without a name"), str(clip.get("commit") or "")
    said_of_clip = [
        name,
        f"{clip['size']} pixels" if clip.get("size") else "",
        f"commit {commit}" if commit and commit not in name else "",
        clip.get("fingerprint"),
    ]
    shots = str(result.get("shots", settings.get("DATASET.NUM_SHOTS", "")))
    shots = "" if labels else "all images" if _ALL_IMAGES.fullmatch(shots) else shots
    split = result.get("split")
    return pages.markdown(
        "use/card.md.j2",
        header=header(method["name"], clip, license_id, [] if marked else measured),
        title=f"{method['name']} on {dataset}" if dataset else method["name"],
        learned="A head on the features of" if is_head else "Prompts in front of",
        of_others=_OF_OTHERS if is_head else "",
        method={
            "method": method["name"],
            "settings": ", ".join(shown),
            "on the prompts of": method[FRONT]["name"] if isinstance(method.get(FRONT), Mapping) else "",
            "epochs": content.epoch,
            "CLIP": ", ".join(filter(None, said_of_clip)),
            "versions": ", ".join(f"{key} {text}" for key, text in content.record.get("versions", {}).items()),
        },
        data={
            "data set": dataset,
            "classes of it": result.get("classes") or settings.get("DATASET.SUBSAMPLE_CLASSES"),
            "labels": labels,
            "shots": shots,
            "seed": str(result.get("seed", settings.get("SEED", ""))),
            _SPLIT: f"{split.get('status')} {split.get('hash')}" if isinstance(split, Mapping) else "",
            "hash of all images": result.get("images_hash"),
            "chosen by": result.get("selected_on"),
            "saw": result.get("seen"),
            "notes": "; ".join(result.get("notes") or ()),
            f"{len(names)} classes": ", ".join(names[:_MOST_CLASSES]) + more,
        },
        numbers=numbers if measured else {},
        **how_to_load(repo, clip),
    )
