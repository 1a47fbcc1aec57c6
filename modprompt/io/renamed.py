"""Settings and facts of results under a new name: one table, applied wherever names are read.

What version 0.2.0 recorded, and what is asked for by the former name, is the same as under today's. Folders and hashes
use the former names, so that a run's stay the same.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from modprompt.errors import UserError

V = TypeVar("V")

_HEADS = ("TIPADAPTER", "CLIP_ADAPTER", "TaskRes", "LPPLUSPLUS", "ADAPTER")
OF_HEADS = {"behind": "prompts_from", "BEHIND": "PROMPTS_FROM"}  # a setting of heads, by field and by key
RENAMED = {  # old: new
    "TEST.HALVES": "TEST.BASE_NEW",
    **{f"TRAINER.{node}.BEHIND": f"TRAINER.{node}.{OF_HEADS['BEHIND']}" for node in _HEADS},
}
_OF_EXPERIMENTS = {"behind": OF_HEADS["behind"]}  # of a method in an experiment file
_FACTS = {"marked": "selected_on_test"}  # of results, and in what checkpoints say about their runs
_FORMER = {new: old for old, new in {**RENAMED, **_OF_EXPERIMENTS}.items()}


def former(key: str) -> str:
    """The name of a setting that folders and hashes use."""
    return _FORMER.get(key, key)


def recorded(values: Mapping[str, V]) -> dict[str, V]:
    """Settings that a file of ours recorded, by today's names."""
    return {RENAMED.get(key, key): value for key, value in values.items()}


def recorded_facts(run: Mapping[str, Any]) -> dict[str, Any]:
    """What a file of ours says about a run, a result or a part of a checkpoint, by today's names."""
    found = {_FACTS.get(key, key): value for key, value in run.items()}
    for part, rename in (("settings", recorded), ("sources", recorded), ("method", recorded_method)):
        if isinstance(found.get(part), Mapping):
            found[part] = rename(found[part])
    return found


def recorded_method(method: Mapping[str, Any]) -> dict[str, Any]:
    """What a file of ours says about a method, its settings (by field) and config (by key) by today's names."""

    def in_node(name: str) -> str:
        old = f"{method.get('node', '')}.{name.upper()}"
        new = RENAMED.get(old, "").rpartition(".")[2]
        return name if not new else new if name.isupper() else new.lower()

    parts = {part: method[part] for part in ("settings", "config") if isinstance(method.get(part), Mapping)}
    return {**method, **{part: {in_node(key): one for key, one in of.items()} for part, of in parts.items()}}


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=4)


def asked(pairs: Iterable[tuple[str, V]], where: str, say: Callable[[str], None] = _warn) -> list[tuple[str, V]]:
    """What a user asks for in one place, by today's names; a message names those that were asked for by a former one.

    Args:
        pairs: (name, value), in their order.
        where: the place, for messages.
        say: what is done with the message; by default, it is a warning.

    Raises:
        UserError: if the place gives both a former name and today's.
    """
    return _asked(pairs, where, RENAMED, say)


def asked_of_method(content: Mapping[str, V], where: str) -> dict[str, V]:
    """The same for what an experiment file says about a method, except its options."""
    return dict(_asked(content.items(), where, _OF_EXPERIMENTS, _warn))


def _asked(
    pairs: Iterable[tuple[str, V]], where: str, names: Mapping[str, str], say: Callable[[str], None]
) -> list[tuple[str, V]]:
    pairs = list(pairs)
    given = {key for key, _ in pairs}
    for old in (key for key in names if key in given):
        if names[old] in given:
            raise UserError(f"{where}: {old} is {names[old]} now, and both are given: leave {old} out")
        say(f"{where}: {old} is {names[old]} now")
    return [(names.get(key, key), value) for key, value in pairs]
