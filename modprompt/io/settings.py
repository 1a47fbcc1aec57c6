"""Settings as they were given, by config files, flags and options: where from, in one form of text, and their hash.

Two runs whose given settings have the same hash, on the same images and CLIP, are the same run. Nothing heavy is
imported here, so that thousands of results are compared quickly.
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

BASE = "_BASE_"  # in a config: another one, by its path from there, over which it sets its own
_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.\w+)+")  # what no value looks like
READ_AS = "INPUT.DECODING"  # how image files are decoded; results of early versions do not have this setting
TRAIN_ON_VAL = "DATASET.TRAIN_ON_VAL"
SHOTS_BY_CLASS = "DATASET.SHOTS_BY_CLASS"
# values of DATASET.CHOOSE_BY, how many validation images a method selects on: as many as the few-shot list has, all, or
# as many as training images
FEW, ALL, AS_MANY = "few", "all", "as many"
READER = "DATASET.READER"  # which reader of another codebase a run used; with another one it is another run

# settings that have a flag of train.py
FLAGS = {
    "DATASET.ROOT": "--root", "OUTPUT_DIR": "--output-dir", "RESUME": "--resume", "SEED": "--seed",
    "DATASET.SOURCE_DOMAINS": "--source-domains", "DATASET.TARGET_DOMAINS": "--target-domains",
    "INPUT.TRANSFORMS": "--transforms", "TRAINER.NAME": "--trainer", "MODEL.BACKBONE.NAME": "--backbone",
    "MODEL.HEAD.NAME": "--head",
}  # fmt: skip


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings in levels as {dotted key: value}, in their order."""
    values: dict[str, Any] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        values.update(flat(value, name + ".") if isinstance(value, Mapping) else {name: value})
    return values


def level_of(node: Any, key: str) -> tuple[Any, str]:
    """The level of settings that holds one, by its dotted key, and its name there; None if there is none."""
    *path, name = key.split(".")
    for part in path:
        node = node.get(part) if isinstance(node, Mapping) else None
    return (node if isinstance(node, Mapping) else None), name


def read_settings(path: str, bases: int = 8) -> dict[str, Any]:
    """What a YAML config sets, as {dotted key: value}, over what the file sets that its `_BASE_` names, if any.

    So many may be below each other. Raises UserError if one is missing (the neighbours are named) or not a YAML config.
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
    """Whether a YAML config sets its own over another one's."""
    try:
        content = read_yaml(path)
    except (OSError, ValueError):  # whoever reads it says so
        return False
    return isinstance(content, dict) and BASE in content


def as_text(value: Any) -> str:
    """A value as text, the same for all ways to write it: 1 and 1.0, (2, 3) and "[2, 3]", 1e-5 and "0.00001"."""
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
    """KEY VALUE words as pairs; raises UserError if a key has no value, or a flag is among them."""
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
    """Settings of several layers, later ones over earlier ones, as {dotted key: text}, sorted; those that decide."""
    merged = {key: value for layer in layers for key, value in layer.items()}
    texts = {key: as_text(value) for key, value in sorted(merged.items())}
    return decisive(texts)


def settings_hash(settings: Mapping[str, str]) -> str:
    """Twelve hex digits that tell one set of given settings from another."""
    text = "".join(f"{key}={value}\n" for key, value in sorted(settings.items()))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def texts_of(cfg: Mapping[str, Any]) -> dict[str, str]:
    """All settings of a configuration, as {dotted key: text}."""
    return {key: str(list(value) if isinstance(value, (tuple, list)) else value) for key, value in flat(cfg).items()}


class Given(NamedTuple):
    """A setting's value, as a file or flag gives it or as an option's text, and its source."""

    value: Any
    source: str  # "file NAME", "flag --seed" or "option"

    @property
    def is_flag(self) -> bool:
        """Whether it is a flag's value, which is no text that stands for another value."""
        return self.source.startswith("flag ")

    @property
    def where(self) -> str:
        """Its place in an error's message."""
        kind, _, name = self.source.partition(" ")
        return name if kind == "file" else "command line"


class Settings(dict[str, Given]):
    """Settings by dotted key, later sources override earlier ones; the one place to ask for a run's settings."""

    def __init__(self, given: tuple[tuple[str, Given], ...] = ()):
        super().__init__(given)
        self.given = given  # in the sources' order, also what a later one gives again

    @classmethod
    def read(
        cls, files: Iterable[str] = (), flags: Mapping[str, Any] | None = None, options: Sequence[str] = ()
    ) -> "Settings":
        """What YAML files, flags ({key of FLAGS: value}, None and "" are not given) and options give, in this order."""
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
        """What is stored, hashed and compared: the given settings, without those of free(), as text, sorted by key."""
        return given([{key: found.value for key, found in self.items()}])

    def on_command_line(self) -> list[str]:
        """Keys whose value a flag or option gives, and no file."""
        return [key for key, found in self.items() if not found.source.startswith("file ")]

    def sources(self) -> dict[str, str]:
        """The last source of each setting that texts() has."""
        return {key: self[key].source for key in self.texts()}
