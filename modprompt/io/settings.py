"""Explicit settings of a run, from config files, flags and options: their sources, their texts and their hash.

No heavy package is imported, so that thousands of results are compared quickly.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.checks import nearest
from modprompt.errors import UserError
from modprompt.io.files import Refused
from modprompt.io.identity import decisive
from modprompt.io.records import read_yaml

BASE = "_BASE_"  # in a config file: the path of another config file, whose settings this file overrides
_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.\w+)+")  # no value of a setting looks like this
READ_AS = "INPUT.DECODING"  # how image files are decoded; results of early versions do not have this setting
TRAIN_ON_VAL = "DATASET.TRAIN_ON_VAL"
SHOTS_BY_CLASS = "DATASET.SHOTS_BY_CLASS"
# values of DATASET.CHOOSE_BY, the number of validation images on which a method selects: the few-shot list,
# all of the data set, or as many as there are training images
FEW, ALL, AS_MANY = "few", "all", "as many"
READER = "DATASET.READER"  # the data-set reader of another codebase; two runs with different readers are different runs

# settings that have a flag in train.py
FLAGS = {
    "DATASET.ROOT": "--root", "OUTPUT_DIR": "--output-dir", "RESUME": "--resume", "SEED": "--seed",
    "DATASET.SOURCE_DOMAINS": "--source-domains", "DATASET.TARGET_DOMAINS": "--target-domains",
    "INPUT.TRANSFORMS": "--transforms", "TRAINER.NAME": "--trainer", "MODEL.BACKBONE.NAME": "--backbone",
    "MODEL.HEAD.NAME": "--head",
}  # fmt: skip


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as {dotted key: value}, in the same order."""
    values: dict[str, Any] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        values.update(flat(value, name + ".") if isinstance(value, Mapping) else {name: value})
    return values


def level_of(node: Any, key: str) -> tuple[Any, str]:
    """Return the nested dictionary that contains a setting, and the name of the setting in this dictionary.

    The level is None if the settings do not have this level.
    """
    *path, name = key.split(".")
    for part in path:
        node = node.get(part) if isinstance(node, Mapping) else None
    return (node if isinstance(node, Mapping) else None), name


def read_settings(path: str, bases: int = 8) -> dict[str, Any]:
    """Return the settings of a YAML config file as {dotted key: value}, including those of its `_BASE_` file.

    Args:
        path: the path of the config file.
        bases: how many levels of `_BASE_` files are allowed.

    Raises:
        UserError: if a file does not exist (the message names similar files), or is not a YAML config file.
    """
    file = Path(path)
    if not file.exists():
        near = sorted(file.parent.glob("[!.]*.yaml"))
        hint = nearest(file.stem, [one.stem for one in near]) or "."
        names = f" Config files in {file.parent}: {', '.join(one.name for one in near)}." if near else ""
        raise UserError(f"The config file {path} does not exist{hint}{names}")
    try:
        content = read_yaml(file) or {}
        if not isinstance(content, dict):
            raise Refused("the file contains no KEY: value pairs")
        base = content.pop(BASE, None)
        if base is not None and not bases:
            raise Refused(f"{BASE} nests config files too deeply, or a file includes itself")
        return {**({} if base is None else read_settings(str(file.parent / str(base)), bases - 1)), **flat(content)}
    except (Refused, RecursionError) as error:  # YAML can name a level inside itself
        raise UserError(f"{path} is not a valid YAML config file ({str(error)[:120]}).") from None


def names_base(path: Any) -> bool:
    """Return True if a YAML config file overrides the settings of another file (`_BASE_`)."""
    try:
        content = read_yaml(path)
    except (OSError, ValueError):  # reported when the file is read
        return False
    return isinstance(content, dict) and BASE in content


def as_text(value: Any) -> str:
    """Return a value as a string that is equal for equal values, such as 1 and 1.0, or (2, 3) and "[2, 3]"."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)  # as yacs reads it
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return str(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(as_text(item) for item in value)}]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def pairs(options: Sequence[str]) -> list[tuple[str, str]]:
    """Split command-line arguments of the form KEY VALUE into pairs.

    Raises:
        UserError: if a key has no value, or one of the words is a flag.
    """
    for key, value in zip_longest(options[0::2], options[1::2], fillvalue=""):
        if key.startswith("--"):
            raise UserError(f"The flag {key} must come before the KEY VALUE options.")
        if "=" in key:
            raise UserError(f"The option {key} is not a KEY VALUE pair. Write {' '.join(key.split('=', 1))} instead.")
        odd = len(options) % 2 and (value == "" or _KEY.fullmatch(value))
        if value.startswith("--") or odd:
            behind = f" because the next argument is {value!r}" if value else ""
            raise UserError(f"The option {key} has no value{behind}. Write options as KEY VALUE pairs after all flags.")
    return list(zip(options[0::2], options[1::2]))


def given(layers: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Merge settings of several sources, and drop settings that do not influence results; later sources win.

    Returns:
        {dotted key: text}, sorted by key.
    """
    merged = {key: value for layer in layers for key, value in layer.items()}
    texts = {key: as_text(value) for key, value in sorted(merged.items())}
    return decisive(texts)


def settings_hash(settings: Mapping[str, str]) -> str:
    """Return twelve hex digits that identify a set of explicit settings."""
    text = "".join(f"{key}={value}\n" for key, value in sorted(settings.items()))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def texts_of(cfg: Mapping[str, Any]) -> dict[str, str]:
    """Return all settings of a configuration as {dotted key: text}."""
    return {key: str(list(value) if isinstance(value, (tuple, list)) else value) for key, value in flat(cfg).items()}


class Given(NamedTuple):
    """The value of a setting, as written in a file, flag or option, and its source."""

    value: Any
    source: str  # "file NAME", "flag --seed" or "option"

    @property
    def is_flag(self) -> bool:
        """Whether the value comes from a flag; strings from flags are not parsed."""
        return self.source.startswith("flag ")

    @property
    def where(self) -> str:
        """The name of the source in error messages."""
        kind, _, name = self.source.partition(" ")
        return name if kind == "file" else "command line"


class Settings(dict[str, Given]):
    """The explicit settings of a run by dotted key; later sources override earlier sources."""

    def __init__(self, given: tuple[tuple[str, Given], ...] = ()):
        super().__init__(given)
        self.given = given  # in the order of the sources, including values that a later source overrides

    @classmethod
    def read(
        cls, files: Iterable[str] = (), flags: Mapping[str, Any] | None = None, options: Sequence[str] = ()
    ) -> "Settings":
        """Read the settings of config files, flags and options, which override each other in this order.

        Args:
            files: paths of YAML config files.
            flags: values of flags by the keys of FLAGS; None and "" mean that a flag was not used.
            options: words of the form KEY VALUE.
        """
        found = [
            (key, Given(value, f"file {path}"))
            for path in map(str, filter(None, files))
            for key, value in read_settings(path).items()
        ]
        found += [
            (key, Given(value, f"flag {FLAGS[key]}"))
            for key, value in (flags or {}).items()
            if value is not None and value != ""
        ]
        found += [(key, Given(value, "option")) for key, value in pairs(options)]
        return cls(tuple(found))

    def texts(self) -> dict[str, str]:
        """Return the settings that influence results, as {dotted key: string} sorted by key."""
        return given([{key: found.value for key, found in self.items()}])

    def on_command_line(self) -> list[str]:
        """Return the keys whose value comes from a flag or an option."""
        return [key for key, found in self.items() if not found.source.startswith("file ")]

    def sources(self) -> dict[str, str]:
        """Return the last source of each setting that `texts` returns."""
        return {key: self[key].source for key in self.texts()}
