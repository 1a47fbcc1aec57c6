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
_WHOLE = re.compile(r"-\d+|0")  # shots of earlier results and of settings: below 1 means all images


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
    found = [
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
        model_name=(method or "modprompt") if found else None,
        eval_results=found or None,
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


def _said_of_clip(clip: Mapping[str, Any]) -> str:
    name = str(clip.get("file") or clip.get("name") or "a CLIP without a name")
    commit = str(clip.get("commit") or "")
    more = [f"commit {commit}" if commit and commit not in name else "", str(clip.get("fingerprint") or "")]
    return ", ".join(filter(None, [name, f"{clip['size']} pixels" if clip.get("size") else "", *more]))


def _said_of_images(result: Mapping[str, Any], settings: Mapping[str, str]) -> list[tuple[str, str]]:
    """Rows on the data, from a result, or else from the settings of a checkpoint."""
    split = result.get("split")
    split_said = " ".join(str(split.get(key, "")) for key in ("status", "hash")) if isinstance(split, Mapping) else ""
    shots = result.get("shots", settings.get("DATASET.NUM_SHOTS", ""))
    labels = labels_in(result)
    return [
        ("data set", str(result.get("dataset") or settings.get("DATASET.NAME", ""))),
        ("classes of it", str(result.get("classes") or settings.get("DATASET.SUBSAMPLE_CLASSES", ""))),
        ("labels", labels),
        ("shots", "" if labels else "all images" if _WHOLE.fullmatch(str(shots)) else str(shots)),
        ("seed", str(result.get("seed", settings.get("SEED", "")))),
        ("split (published, or ours), its SHA-256", split_said),
        ("hash of all images", str(result.get("images_hash") or "")),
        ("chosen by", str(result.get("selected_on") or "")),
        ("saw", str(result.get("seen") or "")),
        ("notes", "; ".join(map(str, result.get("notes") or ()))),
    ]


def _numbers(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = {"accuracy_pct": "accuracy", "macro_f1_pct": "macro F1", "top5_pct": "top-5 accuracy", "ece_pct": "ECE"}
    rows = [(name, f"{result[key]:.2f}%") for key, name in names.items() if isinstance(result.get(key), (int, float))]
    on = f"{result.get('images')} {result.get('tested_on') or 'test'} images" if result.get("images") else ""
    return [*rows, ("measured on", on)] if rows else []


def card_of_run(content: Checkpoint, repo: str, result: Mapping[str, Any] | None = None, license_id: str = "") -> str:
    """The card of one run: data, method, numbers with the seed, how to load.

    Args:
        content: of its checkpoint, which says what it is.
        repo: "owner/name".
        result: of the run, if it is known to have tested this checkpoint.
        license_id: a hub's name of it.
    """
    found = result or {}
    method, names = content.record["method"], content.record["classes"]["names"]
    dataset = str(found.get("dataset") or content.settings.get("DATASET.NAME", ""))
    accuracy = found.get("accuracy_pct")
    measured = [(dataset, accuracy)] if dataset and isinstance(accuracy, (int, float)) else []
    is_head, marked = kind_of(method["name"]) == HEADS, mark_of(found)
    numbers = [*_numbers(found), ("seed", str(found.get("seed", ""))), ("beyond the usual rule", marked)]
    more = f" and {len(names) - _MOST_CLASSES} more" if len(names) > _MOST_CLASSES else ""
    classes = (f"{len(names)} classes", ", ".join(names[:_MOST_CLASSES]) + more)
    return pages.markdown(
        "use/card.md.j2",
        header=header(method["name"], content.clip, license_id, [] if marked else measured),
        title=f"{method['name']} on {dataset}" if dataset else method["name"],
        learned="A head on the features of" if is_head else "Prompts in front of",
        of_others=_OF_OTHERS if is_head else "",
        method=_said_of_method(content),
        data=[*_said_of_images(found, content.settings), classes],
        numbers=numbers if measured else [],
        **how_to_load(repo, content.clip),
    )


def _said_of_method(content: Checkpoint) -> list[tuple[str, str]]:
    method, paths = content.record["method"], tuple(end for ends in NAMED.values() for end in ends)
    given = {key: text for key, text in method["config"].items() if text not in ("", [], ())}
    # without paths on the machine that trained
    shown = {key: text for key, text in given.items() if not f"{method['node']}.{key}".endswith(paths)}
    return [
        ("method", method["name"]),
        ("settings", ", ".join(f"{key} {value}" for key, value in shown.items())),
        *([("on the prompts of", method[FRONT]["name"])] if isinstance(method.get(FRONT), Mapping) else []),
        ("epochs", str(content.epoch or "")),
        ("CLIP", _said_of_clip(content.clip)),
        ("versions", ", ".join(f"{key} {text}" for key, text in content.record.get("versions", {}).items())),
    ]
