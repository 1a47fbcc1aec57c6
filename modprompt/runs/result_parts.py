"""Which parts of a result are of another type than any run writes, so that whoever reads one need not ask again."""

from typing import Any, Callable, Dict, Mapping

Fits = Callable[[Any], bool]
_MOST = 1 << 53  # whole numbers up to here are the same as floats, which tables and figures make of them
_MOST_S = 1e12


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return type(value) is int and -_MOST <= value <= _MOST


def _is_count(value: Any) -> bool:
    return _is_whole(value) and bool(value >= 0)


def _is_number(value: Any, least: float, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def is_percentage(value: Any) -> bool:
    """Whether a value is a number from 0 to 100."""
    return _is_number(value, 0, 100)


def _is_share(value: Any) -> bool:
    return _is_number(value, -1e-6, 1 + 1e-6)  # a sum of logarithms may end beside its bounds


def _is_amount(value: Any) -> bool:
    """Seconds, or GiB."""
    return _is_number(value, 0, _MOST_S)


def _list_of(fits: Fits) -> Fits:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _table_of(fits: Fits) -> Fits:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


def _record(**parts: Fits) -> Fits:
    """An object of which these parts, if they are there, fit; others are not looked at."""
    return lambda value: isinstance(value, dict) and not _fault(value, parts)


def _fault(content: Mapping[str, Any], parts: Mapping[str, Fits]) -> str:
    wrong = (key for key, fits in parts.items() if content.get(key) is not None and not fits(content[key]))
    return next(wrong, "")


_texts, _table = _table_of(_is_text), _record()
_round = _record(
    **dict.fromkeys(
        ("round", "picked", "free", "asked", "labels", "images", "classes_covered", "wrong_free"), _is_count
    ),
    accuracy_pct=is_percentage,
    new_accuracy_pct=is_percentage,
    balance=_is_share,
    picks_hash=_is_text,
    prompts_hash=_is_text,
    elapsed_s=_is_amount,
)
_PARTS: Dict[str, Fits] = {
    **dict.fromkeys(
        (
            "trainer", "dataset", "backbone", "backbone_hash", "classes", "tested_on", "images_hash", "split_hash",
            "selected_on", "evaluated", "init_weights", "prompts_hash", "device", "config_hash", "untested",
        ),
        _is_text,
    ),
    **dict.fromkeys(("seed", "shots", "text_chunk"), _is_whole),
    **dict.fromkeys(("images", "correct"), _is_count),
    **dict.fromkeys(("elapsed_s", "peak_gib"), _is_amount),
    **dict.fromkeys(("settings", "files", "split", "few_shot", "checkpoint", "input", "sources", "versions"), _texts),
    **dict.fromkeys(("schedules", "places"), _texts),
    **dict.fromkeys(("method", "class_names", "compile"), _table),
    "clip": _record(
        **dict.fromkeys(("name", "file", "dialect", "activation", "commit", "fingerprint"), _is_text),
        heads=_list_of(_is_whole),
    ),
    "search": _record(mixture_pct=is_percentage, path_pct=is_percentage),
    "active": _record(
        rounds=_list_of(_round), classes=_is_count, pool=_is_count, budget=_is_count, new_classes=_is_flag
    ),
    **dict.fromkeys(("macro_f1_pct", "error_rate_pct", "perclass_accuracy_pct"), is_percentage),
}  # fmt: skip


def fault(result: Mapping[str, Any]) -> str:
    """The name of a part that is there and of another type than runs write; empty if all that is there fits."""
    return _fault(result, _PARTS)
