"""Files and folders that a run's settings name and that are known by what they hold, wherever they lie by now.

The prompts that a head stands behind, an enhanced base, descriptions, initial weights: a result has a hash of each, so
that a folder may be moved, and a file that holds something else is noticed. Nothing heavy is imported here.
"""

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

from modprompt.errors import UserError
from modprompt.io import descriptions
from modprompt.io.checkpoint_files import checkpoint_at
from modprompt.io.compare import ENHANCED_BASE, PROMPTS_BEFORE, file_hash
from modprompt.io.safe_open import PathLike

_PROMPTS = ".PROMPTS_FROM"


class _Named(NamedTuple):
    """What is named by settings whose keys end in `key`; `what` are its words, `hash_of` gives its hash now."""

    recorded: Any
    key: str
    what: str
    hash_of: Callable[[str], str]


def prompts_hash(file: PathLike) -> str:
    """Twelve hex digits that tell the checkpoint of one training from that of another.

    Raises:
        OSError: if it cannot be read.
    """
    return file_hash(file)[:12]


def _named(result: Mapping[str, Any]) -> List[_Named]:
    """What a result has a hash of."""
    method, weights = result.get("method"), result.get("init_weights")
    facts: Dict[Any, Any] = method if isinstance(method, dict) else {}
    mode, _, phrases = str(facts.get(descriptions.NAME) or "").partition(" ")
    found = [
        _Named(
            facts.get(PROMPTS_BEFORE),
            ".PROMPTS_FROM",
            "the prompts in ",
            lambda path: prompts_hash(checkpoint_at(path)),
        ),
        _Named(facts.get(ENHANCED_BASE), ".ENHANCED_BASE", "", file_hash),
        _Named(phrases, f".{mode}PATH", "", lambda path: descriptions.read(path).hash),
        _Named(weights, "MODEL.INIT_WEIGHTS", "", file_hash),
    ]
    return [one for one in found if isinstance(one.recorded, str) and one.recorded.isalnum()]


def without_places(settings: Mapping[str, str], result: Mapping[str, Any]) -> Dict[str, str]:
    """Settings with, for the name of what a result has a hash of, only that it is given."""
    keys = tuple(one.key for one in _named(result))
    return {key: "given" if value and keys and key.endswith(keys) else value for key, value in settings.items()}


def differing(result: Mapping[str, Any], settings: Mapping[str, Any]) -> List[str]:
    """What a run's settings name and that is another one now than its result has recorded, or gone.

    Args:
        result: the run's.
        settings: its own, by dotted key.
    """
    found: List[str] = []
    for one in _named(result):
        paths = [str(value) for key, value in settings.items() if key.endswith(one.key) and value]
        changes = [_change(one, path) for path in paths]
        if None not in changes:  # a method may read another node than the one where they are given
            found += [change for change in changes if change]
    return found


def _change(one: _Named, path: str) -> Optional[str]:
    try:
        return None if one.hash_of(path) == one.recorded else f"{one.what}{path} {_are(one)} now"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    except UserError as error:
        return str(error)


def _are(one: _Named) -> str:
    return "are others" if one.key == _PROMPTS else "is another one"
