"""Which parts of a result are of another type than any run writes, so that whoever reads one need not ask again."""

from typing import Any, Dict, Mapping

from modprompt.io.safe_open import Refused
from modprompt.io.schema import Form, either, flag, maybe, number, rows, table, text, whole
from modprompt.io.schema import each as table_of

_MOST = 1 << 53  # whole numbers up to here are the same as floats, which tables and figures make of them
_MOST_S = 1e12


def _record(**parts: Form) -> Form:
    """An object of which these parts, if they are there and not null, have a form; others are not looked at."""
    return table({}, {name: maybe(form) for name, form in parts.items()})


_percentage = number(0, 100)
_whole, _count = whole(-_MOST, _MOST), whole(0, _MOST)
_amount = number(0, _MOST_S)  # seconds, or GiB
_text = text(names_files=True)
_texts, _table = table_of(_text), _record()
_round = _record(
    **dict.fromkeys(("round", "picked", "free", "asked", "labels", "images", "classes_covered", "wrong_free"), _count),
    **dict.fromkeys(("accuracy_pct", "new_accuracy_pct"), _percentage),
    balance=number(-1e-6, 1 + 1e-6),  # a sum of logarithms may end beside its bounds
    picks_hash=_text,
    prompts_hash=_text,
    elapsed_s=_amount,
)
_half = _record(images=_count, correct=_count, accuracy_pct=_percentage)
_PARTS: Dict[str, Form] = {
    **dict.fromkeys(
        (
            "trainer", "dataset", "backbone", "backbone_hash", "classes", "tested_on", "images_hash", "split_hash",
            "selected_on", "evaluated", "began_from", "init_weights", "prompts_hash", "device", "config_hash",
            "untested", "steps_hash", "marked", "selected_on_test",
        ),
        _text,
    ),
    **dict.fromkeys(("seed", "shots", "text_chunk"), _whole),
    **dict.fromkeys(
        ("images", "correct", "trained_parameters", "jobs_at_once", "runs_on_gpu", "labels_of_choice"), _count
    ),
    **dict.fromkeys(("elapsed_s", "training_s", "testing_s", "peak_gib", "gpu_gib"), _amount),
    "halves": _record(base=_half, new=_half, h_pct=_percentage),
    "class_bound": flag,
    "notes": rows(_text),
    **dict.fromkeys(("settings", "files", "few_shot", "checkpoint", "input", "sources", "versions"), _texts),
    **dict.fromkeys(("schedules", "places", "test_files"), _texts),
    "split": either(_text, _texts),  # a text in results of the first version
    **dict.fromkeys(("method", "class_names", "compile"), _table),
    "clip": _record(
        **dict.fromkeys(("name", "file", "dialect", "activation", "commit", "fingerprint"), _text), heads=rows(_whole)
    ),
    "searched": _record(beta=_amount, alpha=_amount, correct=_count, images=_count, on=_text),
    "search": _record(mixture_pct=_percentage, path_pct=_percentage),
    "active": _record(rounds=rows(_round), classes=_count, pool=_count, budget=_count, new_classes=flag),
    **dict.fromkeys(("macro_f1_pct", "error_rate_pct", "perclass_accuracy_pct", "top5_pct", "ece_pct"), _percentage),
}  # fmt: skip
_RESULT, _TESTED = _record(**_PARTS), table({"accuracy_pct": _percentage})
_SETTINGS = table({}, {"settings": _texts})  # a run of an early version has none, and never null


def fault(result: Mapping[str, Any], tested: bool = True) -> str:
    """What is wrong with the first part that is missing or of another type than runs write; empty if all fits.

    Args:
        result: what the file holds.
        tested: whether it must say an accuracy.
    """
    try:
        for form in (_RESULT, _SETTINGS, *([_TESTED] if tested else [])):
            form(result, "")
    except Refused as error:
        return str(error)
    return ""
