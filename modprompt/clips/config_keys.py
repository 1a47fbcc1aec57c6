"""Keys of configs that stand beside weights: each is used, plays no part here, or has the one value that is run."""

import json
from pathlib import Path
from typing import Any, Collection, Dict, Mapping, Tuple

from modprompt.errors import UserError
from modprompt.storage import json_text
from modprompt.storage.opening import read_text

_MOST_BYTES = 1 << 24
_MOST = 1 << 24  # of any number in a config


def read_config(path: Path, about: str = "how these weights are run") -> Dict[str, Any]:
    """The JSON object in a file, which says something about weights.

    Raises:
        UserError: if it is missing, or no JSON object.
    """
    try:
        content = json_text.parse(read_text(path, _MOST_BYTES))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: it says {about}; copy it from where the weights come from") from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged: no JSON ({' '.join(str(error).split())[:80]})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: no JSON object")
    return content


def part(config: Mapping[str, Any], key: str, where: str) -> Dict[str, Any]:
    """An object in a config.

    Raises:
        UserError: if it is missing or none.
    """
    found = config.get(key)
    if not isinstance(found, dict):
        raise UserError(f"{where} has no {key}: it does not say how these weights are run")
    return found


def require_known(
    config: Mapping[str, Any],
    used: Collection[str],
    free: Collection[str],
    only: Mapping[str, Tuple[Any, ...]],
    at: str,
) -> None:
    """Raise UserError unless each key is used, plays no part, or has a value that is run here.

    Args:
        config: keys and values.
        used: keys that are read.
        free: keys that play no part when a frozen CLIP is run.
        only: {key: the values of it that are run}.
        at: the file, and where in it, for the message.
    """
    for key, value in config.items():
        if key in used or key in free:
            continue
        if key not in only:
            raise UserError(f"{at}{key} = {_short(value)} is not known here: such a CLIP is not run")
        if value not in only[key]:
            allowed = " or ".join(_short(one) for one in only[key])
            raise UserError(f"{at}{key} is {_short(value)}, only {allowed} is run: see docs/backbones.md")


def _short(value: Any) -> str:
    return json.dumps(value)[:60]


def whole(config: Mapping[str, Any], key: str, default: int, at: str) -> int:
    """A whole number above 0 of a config.

    Raises:
        UserError: if it is none.
    """
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _MOST:
        raise UserError(f"{at}{key} must be a whole number above 0, got {_short(value)}")
    return value


def ratio(config: Mapping[str, Any], key: str, default: float, at: str) -> float:
    """A number above 0 of a config.

    Raises:
        UserError: if it is none.
    """
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1000:
        raise UserError(f"{at}{key} must be a number above 0, got {_short(value)}")
    return float(value)


def square(value: Any, key: str, at: str) -> int:
    """A side in pixels, of a number or two equal ones.

    Raises:
        UserError: if it is none.
    """
    sides = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(sides) not in (1, 2) or any(isinstance(one, bool) or not isinstance(one, int) or one < 1 for one in sides):
        raise UserError(f"{at}{key} must be a number of pixels, got {_short(value)}")
    if len(set(sides)) != 1:
        raise UserError(f"{at}{key} is {_short(value)}: only square images are run")
    return int(sides[0])


def channels(value: Any, key: str, at: str) -> Tuple[float, ...]:
    """Three numbers from 0 to 1, one a channel; those of a deviation are above 0.

    Raises:
        UserError: if they are none.
    """
    numbers = list(value) if isinstance(value, (list, tuple)) else []
    plain = all(isinstance(one, (int, float)) and not isinstance(one, bool) and 0 <= one <= 1 for one in numbers)
    if len(numbers) != 3 or not plain or ("std" in key and not all(numbers)):
        raise UserError(f"{at}{key} must be three numbers{' above 0' if 'std' in key else ''}, got {_short(value)}")
    return tuple(float(one) for one in numbers)
