"""What runs must have in common to be averaged: what `_of_mean` lists, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from modprompt.io.image_files import FAMILY
from modprompt.io.images import READ_AS
from modprompt.io.settings import READER

READING, WEIGHTS = "reading of images", "weights"
Parted = Mapping[str, Mapping[str, Collection[str]]]  # by what differs, its values and the runs that have each

_SHORT = 14  # characters of a hash that are shown


def split_facts(result: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a result says about its split; nothing if there is none."""
    return (result or {}).get("split") or {}


def has_odd_images(result: Mapping[str, Any] | None) -> bool:
    """Whether a run found images that the two rules read differently."""
    return bool(split_facts(result).get("odd_images"))


def reading_of(result: Mapping[str, Any]) -> str:
    """The rule by which a run has read its images."""
    return str((result.get("input") or {}).get(READ_AS, FAMILY))


def _of_mean(dataset: str, result: Mapping[str, Any], odd: Collection[str]) -> dict[tuple[str, str], str]:
    """What all runs of a mean must have in common, by what it is and the version of a hash; empty if it is not known.

    Args:
        dataset: of the run.
        result: of the run.
        odd: data sets with images that the two rules read differently.
    """
    weights = str(result.get("backbone_hash") or "")
    return {
        (f"{READING} of {dataset}", ""): reading_of(result) if dataset in odd else "",
        (WEIGHTS, version_in(weights)): weights,
        (f"readers of {dataset}", ""): str((result.get("settings") or {}).get(READER, "this project's")),
        (f"splits of {dataset}", ""): str(split_facts(result).get("hash") or ""),
    }


def parted(runs: Iterable[tuple[str, str, Mapping[str, Any]]], odd: Collection[str]) -> Parted:
    """In what runs differ that cannot be averaged; empty if they can.

    Args:
        runs: data set of each, what it is called, and its result.
        odd: data sets with images that the two rules read differently.
    """
    found: dict[tuple[str, str], dict[str, dict[str, None]]] = {}  # the runs in order, each once
    for dataset, name, result in runs:
        for what, value in _of_mean(dataset, result, odd).items():
            if value:
                found.setdefault(what, {}).setdefault(value, {})[name] = None
    return {what: values for (what, _), values in found.items() if len(values) > 1}


def in_words(differing: Parted, whole: bool = True) -> str:
    """Why there is no mean of some runs, in a sentence, which names the runs if `whole`. Empty if there is one."""
    if not differing:
        return ""
    text = f"no mean, made with different {' and '.join(differing)}"
    if not whole:
        return text
    who = (" / ".join(f"{value[:_SHORT]}: {', '.join(of)}" for value, of in one.items()) for one in differing.values())
    return f"{text} ({'; '.join(who)})"


def version_in(digest: str) -> str:
    """What tells hashes of one rule from those of another, which cannot be compared."""
    return digest.partition(":")[0] if ":" in digest else ""
