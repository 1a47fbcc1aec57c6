"""Files and folders that a run's settings name, identified by their content, wherever they are now.

Descriptions, initial weights, and what settings of features name: a result has a hash of each, so that a folder may be
moved, and a file that holds something else is noticed. Nothing heavy is imported here.
"""

from collections.abc import Callable, Mapping
from typing import Any

from modprompt.errors import UserError
from modprompt.feature import Content, contents
from modprompt.io import descriptions
from modprompt.io.compare import file_hash

_SENTENCES = ".SENTENCES"  # how the setting's key ends


def facts_of_methods() -> tuple[str, ...]:
    """The facts in which a method states the hashes of what it names."""
    return (descriptions.NAME, *(one.fact for one in contents()))


def _named(result: Mapping[str, Any]) -> list[tuple[str, Content]]:
    """What a result has a hash of, with that hash."""
    method, weights = result.get("method"), result.get("init_weights")
    facts: dict[Any, Any] = method if isinstance(method, dict) else {}
    mode, _, phrases = str(facts.get(descriptions.NAME) or "").partition(" ")
    found = [
        *((facts.get(one.fact), one) for one in contents()),
        (phrases, Content(descriptions.NAME, f".{mode}PATH", lambda path: descriptions.read(path).hash)),
        (facts.get(descriptions.SENTENCES), Content(descriptions.SENTENCES, _SENTENCES, _hash_of_sentences(result))),
        (weights, Content("", "MODEL.INIT_WEIGHTS", file_hash)),
    ]
    return [(digest, one) for digest, one in found if isinstance(digest, str) and digest.isalnum()]


def _hash_of_sentences(result: Mapping[str, Any]) -> Callable[[str], str]:
    def hash_of(setting: str) -> str:
        try:
            found = descriptions.read_sentences(setting, str(result.get("dataset", "")))
        except UserError as error:
            raise UserError(f"SENTENCES{error}") from None
        return descriptions.TEMPLATE if found is None else found.hash

    return hash_of


def without_places(settings: Mapping[str, str], result: Mapping[str, Any]) -> dict[str, str]:
    """Settings in which the name of what a result has a hash of is replaced by "given"."""
    keys = tuple(one.key for _, one in _named(result))
    return {key: "given" if value and keys and key.endswith(keys) else value for key, value in settings.items()}


def differing(result: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """What a run's settings name that has changed since its result was recorded, or is gone.

    Args:
        result: the run's.
        settings: its own, by dotted key.
    """
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
