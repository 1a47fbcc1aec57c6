"""Which parts of a result have another type than any run writes, so that its readers need not check again."""

import functools
from collections.abc import Mapping
from typing import Any

from modprompt import feature as registry
from modprompt.feature import features
from modprompt.io.safe_open import Refused
from modprompt.io.schema import Form, either, flag, maybe, number, rows, table, text, whole
from modprompt.io.schema import each as table_of

_MOST = 1 << 53  # whole numbers up to here stay the same as floats, which tables and figures use
_MOST_S = 1e12


def record(**parts: Form) -> Form:
    """An object of which these parts, if they are there and not null, have a form; others are not checked."""
    return table({}, {name: maybe(form) for name, form in parts.items()})


percentage = number(0, 100)
_whole, count = whole(-_MOST, _MOST), whole(0, _MOST)
amount = number(0, _MOST_S)  # seconds, or GiB
line = text(names_files=True)
_texts, _table = table_of(line), record()
_half = record(images=count, correct=count, accuracy_pct=percentage)
_PARTS: dict[str, Form] = {
    **dict.fromkeys(
        (
            "trainer", "dataset", "backbone", "backbone_hash", "classes", "tested_on", "images_hash", "split_hash",
            "selected_on", "evaluated", "began_from", "init_weights", "prompts_hash", "device", "config_hash",
            "untested", "steps_hash", "selected_on_test", "logits", "seen",
        ),
        line,
    ),
    **dict.fromkeys(("seed", "shots", "text_chunk"), _whole),
    **dict.fromkeys(
        ("images", "correct", "trained_parameters", "jobs_at_once", "runs_on_gpu", "labels_of_choice"), count
    ),
    **dict.fromkeys(("elapsed_s", "training_s", "testing_s", "peak_gib", "gpu_gib"), amount),
    **dict.fromkeys(("halves", "halves_apart"), record(base=_half, new=_half, h_pct=percentage)),
    "class_bound": flag,
    "notes": rows(line),
    **dict.fromkeys(("files", "few_shot", "split", "checkpoint", "input", "sources", "versions"), _texts),
    **dict.fromkeys(("schedules", "places", "test_files"), _texts),
    **dict.fromkeys(("method", "class_names", "compile"), _table),
    "clip": record(
        **dict.fromkeys(("name", "file", "model", "dialect", "activation", "commit", "fingerprint"), line),
        heads=rows(_whole), tokenizer=table_of(either(line, _whole)),
    ),
    **dict.fromkeys(("macro_f1_pct", "error_rate_pct", "perclass_accuracy_pct", "top5_pct", "ece_pct"), percentage),
}  # fmt: skip
_RESULT, _TESTED = record(**_PARTS), table({"accuracy_pct": percentage})
_SETTINGS = table({"settings": _texts})


@functools.lru_cache(maxsize=4)
def _of_features(names: tuple[str, ...]) -> Form:
    """The parts of these features; read once, since a report reads thousands of results."""
    return record(**{name: form for one in features() for name, form in one.result_forms().items()})


def fault(result: Mapping[str, Any], tested: bool = True) -> str:
    """What is wrong with the first part that is missing or has another type than runs write; empty if all is right.

    Args:
        result: what the file holds.
        tested: whether it must have an accuracy.
    """
    try:
        for form in (_RESULT, _of_features(tuple(registry.FEATURES)), _SETTINGS, *([_TESTED] if tested else [])):
            form(result, "")
    except Refused as error:
        return str(error)
    return ""
