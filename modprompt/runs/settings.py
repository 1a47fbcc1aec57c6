"""Settings as they were given, by config files and options, in one form however they were written; and their hash.

Two runs whose given settings have one hash, on the same images and CLIP, are the same run. Nothing heavy is imported
here, so that thousands of results are compared in no time.
"""

import ast
import hashlib
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Tuple

import yaml

from modprompt.errors import UserError
from modprompt.storage.opening import read_text

# what decides no number of a training
FREE = {
    "OUTPUT_DIR", "RESUME", "DATASET.ROOT", "VERBOSE", "TRAIN.PRINT_FREQ", "TRAIN.CHECKPOINT_FREQ",
    "MODEL.BACKBONE.PATH", "DATALOADER.TEST.BATCH_SIZE", "DATALOADER.TEST.SAMPLER", "TEST.PER_CLASS_RESULT",
    "TEST.COMPUTE_CMAT", "TEST.NO_TEST", "TEST.ONLY", "TEST.EVALUATOR", "TEST.FEATURE_CACHE", "MODEL.COMPILE",
    "MODEL.TEXT_CHUNK", "DATALOADER.KEEP_IMAGES",
}  # fmt: skip


class _Loader(yaml.SafeLoader):
    """YAML without aliases: a few of them can stand for more settings than fit into memory."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias (*name): write the value out")
        return super().compose_node(parent, index)


def _flat(node: Mapping, prefix: str = "") -> Dict[str, Any]:
    values: Dict[str, Any] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        values.update(_flat(value, name + ".") if isinstance(value, Mapping) else {name: value})
    return values


def read_settings(path: str) -> Dict[str, Any]:
    """What a YAML config sets, as {dotted key: value}, in the file's order.

    Raises:
        UserError: if it is missing (its neighbours are named) or no YAML config.
    """
    file = Path(path)
    if not file.exists():
        near = sorted(p.name for p in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
        raise UserError(f"no config file {path}" + (f"; there is: {', '.join(near)}" if near else ""))
    try:
        content = yaml.load(read_text(file, 1 << 22), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a YAML config ({' '.join(str(error).split())[:120]})") from None
    if not isinstance(content or {}, dict):
        raise UserError(f"{path} is not a YAML config (it holds no KEY: value pairs)")
    return _flat(content or {})


def as_text(value: Any) -> str:
    """A value as text, the same for all ways to write it: 1 and 1.0, (2, 3) and "[2, 3]", 1e-5 and "0.00001"."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)  # as yacs reads it
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(as_text(item) for item in value)}]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def pairs(options: Sequence[str]) -> List[Tuple[str, str]]:
    """KEY VALUE words as pairs.

    Raises:
        UserError: on an odd number of words.
    """
    if len(options) % 2:
        raise UserError(f"options come as KEY VALUE pairs; the last, {options[-1]!r}, stands alone")
    return list(zip(options[0::2], options[1::2]))


def given(layers: Iterable[Mapping[str, Any]]) -> Dict[str, str]:
    """Settings of several layers, later ones over earlier ones, as {dotted key: text}, sorted; FREE ones left out."""
    merged: Dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
    return {key: as_text(value) for key, value in sorted(merged.items()) if key not in FREE}


def settings_hash(settings: Mapping[str, str]) -> str:
    """Twelve hex digits that tell one set of given settings from another."""
    text = "".join(f"{key}={value}\n" for key, value in sorted(settings.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def changes(old: Mapping[str, str], new: Mapping[str, str], unset: str = "not set") -> List[str]:
    """What differs between two sets of settings, as "KEY old -> new"."""
    both = sorted(set(old) | set(new))
    texts = [(key, old.get(key, unset), new.get(key, unset)) for key in both]
    return [f"{key} {before} -> {after}" for key, before, after in texts if before != after]
