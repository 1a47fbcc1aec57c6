"""Whether a finished run is the one that is asked for: its settings, CLIP, split, few-shot list, and named files.

Descriptions, initial weights, and what settings of features name, are identified by their content: a result has a hash
of each, so that a folder may be moved, and a file that holds something else is noticed. Nothing heavy is imported here,
so that thousands of results are compared quickly.
"""

import contextlib
import functools
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modprompt.errors import UserError
from modprompt.feature import Content, contents
from modprompt.io import descriptions, json_text
from modprompt.io.checksum import content_hash
from modprompt.io.safe_open import PathLike
from modprompt.io.settings import changes, free, is_free, with_clips_known
from modprompt.io.text import sha256_of

TOKENIZER = "the tokenizer of CLIP"  # in records of runs and checkpoints, if it is not CLIP's own
_FREE_IN_TESTS = {"DATALOADER.NUM_WORKERS"}  # a training's augmentation depends on it
_SENTENCES = ".SENTENCES"  # how the setting's key ends
_SHOTS = re.compile(r"(?:^|/)shots_(\d+)(?:/|$)|_(\d+)shots(?:/|$)")
_SEED = re.compile(r"(?:^|/)seed(\d+)(?:_[^/]*)?$")
_EVALUATION = re.compile(r"/crossdataset/evaluation/|/evaluation/[^/]+/[^/]+shots/nctx")
_IN_TRAINING = re.compile(r"/tests/[^/]+$")
_CLASSES = re.compile(r"(?:^|/)base2new/(?:train|test)_(base|new)/")


def _compared(settings: Mapping[str, str], tests: bool) -> dict[str, str]:
    """Those of a run's settings that decide its numbers: of a training, or of a run that only tests."""
    settings = with_clips_known(settings)
    if tests:
        return {key: text for key, text in settings.items() if key not in free() | _FREE_IN_TESTS}
    return {key: text for key, text in settings.items() if not is_free(key, text)}


def differing_settings(
    recorded: Mapping[str, str], wanted: Mapping[str, str], tests: bool, defaults: Mapping[str, str] | None = None
) -> list[str]:
    """What differs between two sets of given settings, as "KEY old -> new"; what one side lacks has its default."""
    old, new = (_compared(settings, tests) for settings in (recorded, wanted))
    known = {key: text for key, text in (defaults or {}).items() if key in old or key in new}
    return changes({**known, **old}, {**known, **new})


def require_folder_agrees(folder: str, shots: int, seed: int, classes: str) -> None:
    """Raise UserError if an output folder's name, as the family's scripts make it, states others than its run has."""
    path = os.path.abspath(folder).replace(os.sep, "/")
    for key, value, pattern, of_model in (  # in folders of the last kind it is the model that had these
        ("DATASET.NUM_SHOTS", str(shots), _SHOTS, _EVALUATION),
        ("SEED", str(seed), _SEED, None),
        ("DATASET.SUBSAMPLE_CLASSES", classes, _CLASSES, _IN_TRAINING),
    ):
        stated = [next(filter(None, match.groups())) for match in pattern.finditer(path)]
        if stated and stated[-1] != value and not (of_model and of_model.search(path)):
            raise UserError(
                f"{key} is {value}, but the output folder is for {stated[-1]} ({folder}): "
                "give it as the script's own argument or variable, not as an option"
            )


@functools.lru_cache(maxsize=4096)
def _hash_of(path: str, size: int, time_ns: int) -> str:
    if path.endswith(".json"):
        with contextlib.suppress(ValueError):  # what is no JSON is compared byte by byte
            return content_hash(json_text.parse(Path(path).read_bytes()))
    return sha256_of(path)


def file_hash(path: PathLike) -> str:
    """SHA-256 (hex) of a file's content; of JSON the same however it is laid out. Raises OSError."""
    facts = os.stat(str(path))
    return _hash_of(str(path), facts.st_size, facts.st_mtime_ns)


def differing_files(recorded: Mapping[str, str], find: Callable[[str], str | None]) -> list[str]:
    """Which of a run's recorded files (split, few-shot list), {name: hash}, have changed or are not found any more."""
    found = []
    for name, digest in recorded.items():
        path = find(name)
        try:
            if path is None or not os.path.isfile(path):
                found.append(f"{name} is not there any more")
            elif file_hash(path) != digest:
                found.append(f"{name} has changed")
        except OSError as error:
            found.append(f"{name} cannot be read ({error.strerror})")
    return found


def has_split_file(recorded: Mapping[str, str]) -> bool:
    """Whether a split file is among a run's recorded files; a split that folders or listings make has none."""
    return any(name.rpartition("/")[2].startswith("split_") for name in recorded)


def differing_clip(recorded: str, mine: str) -> list[str]:
    """Whether a run's CLIP is another one, by the hash that it recorded; [] if it recorded none."""
    return [] if recorded in ("", mine) else [f"CLIP {recorded} -> {mine}"]


def tokenizer_said(clip: Mapping[str, Any]) -> dict[str, str]:
    """What identifies the tokenizer of a CLIP (ClipFacts as a record), as {name: text}; nothing if it is CLIP's own."""
    said = clip.get("tokenizer") or {}
    return {TOKENIZER: " ".join(f"{key}={said[key]}" for key in sorted(said))} if said else {}


def differing_tokenizer(recorded: Mapping[str, Any], mine: Mapping[str, Any]) -> list[str]:
    """Whether a run's CLIP had another tokenizer than one has now; both as tokenizer_said accepts them."""
    before, now = (tokenizer_said(one).get(TOKENIZER, "CLIP's own") for one in (recorded, mine))
    return [] if before == now else [f"{TOKENIZER} {before} -> {now}"]


def another_run(folder: str, differences: list[str], most: int = 4) -> UserError:
    """The error for a finished run that is not the one asked for."""
    more = f" and {len(differences) - most} more" if len(differences) > most else ""
    return UserError(
        f"{folder} holds a different finished run ({'; '.join(differences[:most])}{more}): "
        "give another output folder, or delete it to run again"
    )


def facts_of_methods() -> tuple[str, ...]:
    """The facts in which a method states the hashes of what it names."""
    return (descriptions.NAME, *(one.fact for one in contents()))


def _named(result: Mapping[str, Any]) -> list[tuple[str, Content]]:
    """What a result has a hash of, with that hash."""
    method, weights = result.get("method"), result.get("init_weights")
    facts: dict[Any, Any] = method if isinstance(method, dict) else {}
    mode, _, phrases = str(facts.get(descriptions.NAME) or "").partition(" ")
    of_sentences = functools.partial(_hash_of_sentences, str(result.get("dataset", "")))
    found = [
        *((facts.get(one.fact), one) for one in contents()),
        (phrases, Content(descriptions.NAME, f".{mode}PATH", lambda path: descriptions.read(path).hash)),
        (facts.get(descriptions.SENTENCES), Content(descriptions.SENTENCES, _SENTENCES, of_sentences)),
        (weights, Content("", "MODEL.INIT_WEIGHTS", file_hash)),
    ]
    return [(digest, one) for digest, one in found if isinstance(digest, str) and digest.isalnum()]


def _hash_of_sentences(dataset: str, setting: str) -> str:
    try:
        found = descriptions.read_sentences(setting, dataset)
    except UserError as error:
        raise UserError(f"SENTENCES{error}") from None
    return descriptions.TEMPLATE if found is None else found.hash


def without_places(settings: Mapping[str, str], result: Mapping[str, Any]) -> dict[str, str]:
    """Settings in which the name of what a result has a hash of is replaced by "given"."""
    keys = tuple(one.key for _, one in _named(result))
    return {key: "given" if value and keys and key.endswith(keys) else value for key, value in settings.items()}


def differing_contents(result: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """What a run's settings name that has changed since its result was recorded, or is gone."""
    found: list[str] = []
    for digest, one in _named(result):
        paths = [str(value) for key, value in settings.items() if key.endswith(one.key) and value]
        if one.key == _SENTENCES:  # without any they are in a file too
            paths = paths or [""]
        changes = [_change(one, path, digest) for path in paths]
        if None not in changes:  # a method may read another node than the one where they are given
            found += [change for change in changes if change]
    return found


def _change(one: Content, path: str, recorded: str) -> str | None:
    try:
        return None if one.hash_of(path) == recorded else one.changed.format(path or one.fact)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    except UserError as error:
        return str(error)
