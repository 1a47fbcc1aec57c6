"""The form of a checkpoint: its record, and tensors.

All that is read from a file is checked here before any of it is used.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from modprompt.feature import features
from modprompt.io import descriptions
from modprompt.io.content_hashes import facts_of_methods
from modprompt.io.schema import (
    Form,
    anything,
    each,
    flag,
    maybe,
    number,
    refuse,
    row_of,
    rows,
    shown,
    table,
    text,
    whole,
    within,
)

MOST_EPOCHS = 1 << 20
_MOST_TOKENS = 100_000  # and layers
_NAME = text(200)
_DEEPEST = 5
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
CLASS_TOKENS = ("token_prefix", "token_suffix")  # they belong to the class names, not to what was learned


def plain(value: Any, where: str, levels: int = _DEEPEST) -> None:
    """A setting's value: True or False, a number, a text, or lists of these; None where nothing is set."""
    if isinstance(value, (list, tuple)) and levels:
        for at, item in enumerate(value):
            plain(item, f"{where}[{at}]", levels - 1)
    else:
        kinds: dict[type, Form] = {bool: flag, int: whole(), float: number(), str: text()}
        maybe(kinds.get(type(value), text()))(value, where)


# what a learner was made with besides settings and CLIP
STANDS_ON = (descriptions.SENTENCES, "the CLIP that is blended in")
_STEPS = rows(row_of(whole(0, _MOST_TOKENS), whole(0, _MOST_TOKENS)))
_OF_METHOD = {**dict.fromkeys(("name", "node", "learner"), _NAME), **dict.fromkeys(("settings", "config"), each(plain))}
_OF_FEATURES = {one.name: each(plain) for one in features() if one.in_records}
_ANOTHER = table(_OF_METHOD, {**_OF_FEATURES, **dict.fromkeys((descriptions.NAME, *STANDS_ON), _NAME)})
_METHOD = table(
    _OF_METHOD,
    {
        **_OF_FEATURES,
        **dict.fromkeys((*facts_of_methods(), *STANDS_ON), _NAME),
        **{one.stands_on: _ANOTHER for one in features() if one.stands_on},
    },
)
_LISTS = table(
    {"names": rows(text(1000, least=1))},
    {
        **{"dataset": _NAME, "templates": rows(text()), **dict.fromkeys(("phrases", "sentences"), each(rows(text())))},
        **{"which": rows(whole(0, 1 << 20)), "trained_on": rows(text(1000, least=1))},
    },
)


def _classes(value: Any, where: str) -> None:
    """Lists of classes, as long as that of their names."""
    _LISTS(value, where)
    if value.get("which"):
        rows(anything, len(value["names"]))(value["which"], within(where, "which"))


_CLIP = table(
    {},
    {
        **dict.fromkeys(("name", "file", "model", "dialect", "commit", "sha256", "fingerprint"), text(1000)),
        **dict.fromkeys(("interpolation", "resize", "activation"), _NAME),
        "size": whole(0, 1 << 16),
        "mean": rows(number()),
        "std": rows(number()),
        "heads": rows(whole(0, 1 << 16)),
        "tokenizer": each(plain),
    },
)
_CHOSEN = [part for one in features() for part in one.chosen]
CHOICE = ("selected_on", *_CHOSEN, "selected_on_test")  # what a run says about its choice
_RUN = table(
    {},
    {
        "settings": each(text()),
        "began_from": text(1000),
        "selected_on": text(),
        **dict.fromkeys(_CHOSEN, each(plain)),
        "selected_on_test": text(),
    },
)
RECORD = table(
    {"method": _METHOD, "schedules": each(table({"place": _NAME, "steps": _STEPS})), "classes": _classes},
    {"clip": _CLIP, "run": _RUN, "versions": each(_NAME)},
)
HEAD_OF_RECORD = table({"epoch": whole(0, MOST_EPOCHS)}, {"val_result": maybe(number())})


def require_tensors(values: Any) -> None:
    """Check a state_dict: names that are texts, class tokens of classes, tensors that hold numbers.

    Raises:
        Refused: if something is none of these.
    """
    each(_value)(values, "state_dict")
    for key, value in values.items():
        if key.endswith(CLASS_TOKENS) and isinstance(value, Tensor) and (value.dim() < 2 or not value.numel()):
            refuse(within("state_dict", key), f"of shape {tuple(value.shape)}, no tokens of classes")


def _value(value: Any, where: str) -> None:
    """Only tensors are read; they must be dense, and have their numbers here."""
    if isinstance(value, Tensor) and (value.layout != torch.strided or value.is_quantized or value.is_meta):
        refuse(where, "a sparse or quantized tensor, or one without its numbers")


def require_learned(values: Mapping[str, Any]) -> None:
    """Check learned tensors, by name.

    Raises:
        Refused: if one is not made of finite numbers with a point.
    """
    for key, value in values.items():
        if not isinstance(value, Tensor):
            refuse(key, f"{shown(value)}, not a tensor")
        _value(value, key)
        if value.dtype not in _FLOATS:
            refuse(key, f"of {value.dtype}, which learned prompts are not")
        if not torch.isfinite(value).all():
            refuse(key, "not made of finite numbers: the training went wrong")
