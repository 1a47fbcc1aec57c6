"""Class descriptions in JSON files of the form {class: [phrase, ...]}, as PCB (arXiv 2311.11178) introduced them.

Names of classes are compared in lower case, "_" as a space. What is read is known by a hash of its content, wherever
the file lies. Nothing heavy is imported here.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.checks import known_names
from modprompt.errors import UserError
from modprompt.io.checkpoint import checkpoint_at
from modprompt.io.checkpoint import read as read_checkpoint
from modprompt.io.files import Refused, of_user, read_text
from modprompt.io.identity import SENTENCES
from modprompt.io.records import content_hash, parse_json
from modprompt.io.text import is_text

TEMPLATE, DIGITS = "template", "digits"  # settings of sentences that are no paths
_FOLDER = "descriptors"  # where PCB's repository keeps its own
_SHOWN = 5  # missing classes that a message names
_ALIKE = (  # names of EuroSAT's classes in CoOp, and as PCB's file has them
    ("industrial buildings", "industrial buildings or commercial buildings"),
    ("residential buildings", "residential buildings or homes or apartments"),
)
_ALIASES = {**dict(_ALIKE), **{long: short for short, long in _ALIKE}}
_OURS = {"Digits": DIGITS, "Mnist5k": DIGITS}


class Descriptions(NamedTuple):
    """Phrases of classes."""

    phrases: Mapping[str, tuple[str, ...]]  # at least one of each class, whose name is in lower case
    source: str  # where they were read

    @property
    def hash(self) -> str:
        """Twelve hex digits that tell one content from another, however the file was laid out."""
        return content_hash(self.as_record())[:12]

    def as_record(self) -> dict[str, list[str]]:
        """The phrases as plain values."""
        return {name: list(own) for name, own in self.phrases.items()}

    def of(self, classnames: Sequence[str]) -> list[tuple[str, ...]]:
        """The phrases of each class; raises UserError, which names the first, if classes have none."""
        keys = [_key(name) for name in classnames]
        keys = [key if key in self.phrases else _ALIASES.get(key, key) for key in keys]
        missing = [name for name, key in zip(classnames, keys) if key not in self.phrases]
        if missing:
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            told = f"{', '.join(map(repr, missing[:_SHOWN]))}{more}{known_names(_key(missing[0]), list(self.phrases))}"
            raise UserError(
                f"{self.source} contains no phrases for {len(missing)} of {len(keys)} classes: {told.rstrip('.')}. Add "
                "phrases for the missing classes."
            )
        return [self.phrases[key] for key in keys]


def read(name: str) -> Descriptions:
    """What is in a file: a path, or X for descriptors/descriptors_X (PCB's) or descriptors/X; raises as read_file."""
    asked = Path(os.path.expanduser(name))
    places = [asked, Path(_FOLDER) / f"descriptors_{name}", Path(_FOLDER) / name][: 1 if asked.is_absolute() else 3]
    for path in places:
        if os.path.isfile(path):  # never an error, whatever the name
            return read_file(path)
    tried = " or ".join(map(str, places))
    raise UserError(
        f"No class descriptions found at {tried} (current folder: {Path.cwd()}). Set the path of a JSON file with "
        "class descriptions."
    )


def read_file(path: Path) -> Descriptions:
    """The content of a file; raises as read_text, and UserError if it is anything but {class: [phrase, ...]}."""
    try:
        return of_record(parse_json(read_text(path)), str(path))
    except Refused as error:
        raise UserError(f"{path} is not valid JSON ({str(error)[:120]}).") from None


def read_sentences(setting: str, dataset: str, default: Path) -> Descriptions | None:
    """Read the class descriptions that a setting SENTENCES means for a data set; return None for a template.

    Args:
        setting: the path of a JSON file, or of the folder of a run, whose checkpoint contains the descriptions; or
            TEMPLATE, DIGITS, or "" for the default file.
        dataset: the name of the data set.
        default: the default file. If it does not exist, the bundled file for the data set is read.

    Raises:
        UserError: if the file does not exist or has another content. The message continues the name of the setting.
    """
    if not setting:
        setting = str(default) if default.is_file() else _OURS.get(dataset, "")
        if not setting:
            raise UserError(
                f" is empty, and the default file {default} does not exist (current folder: {Path.cwd()}). Set the "
                'path of a JSON file of the form {"class": ["sentence", ...]}, or set the value to `template` to use '
                "only the template of the data set."
            )
    if setting == TEMPLATE:
        return None
    if setting == DIGITS:
        return read_file(Path(__file__).with_name("digits_sentences.json"))
    try:
        if os.path.isdir(of_user(setting)):
            return _of_training(setting)
        return read_file(Path(setting).expanduser())
    except FileNotFoundError:
        raise UserError(f": the file {setting} does not exist (current folder: {Path.cwd()}).") from None
    except UserError as error:
        raise UserError(f": {error}") from None


def _of_training(folder: str) -> Descriptions | None:
    """Return the sentences in the checkpoint of a run's folder; None for a template.

    Raises:
        UserError: if there is no checkpoint, or it contains no sentences.
    """
    path = checkpoint_at(of_user(folder))
    record = read_checkpoint(path).record
    stated = str(record.get("method", {}).get(SENTENCES, ""))
    if not stated:
        raise UserError(f"{path} contains no class descriptions. Set SENTENCES to a JSON file with class descriptions.")
    return None if stated.partition(" ")[0] == TEMPLATE else of_record(record["classes"].get("sentences"), path)


def of_record(content: Any, source: str) -> Descriptions:
    """Descriptions from what as_record() gave, read from a file; raises as read_file."""
    if not isinstance(content, dict) or not content:
        form = 'a JSON object {"class": ["phrase", ...]} with at least one class'
        raise UserError(f"{source} must contain {form}, got {ascii(content)[:60]}.")
    phrases: dict[str, tuple[str, ...]] = {}
    for name, own in content.items():
        where = f"{source}, class {str(name)[:80]!r}"
        texts = own if isinstance(own, list) else []
        if not texts or not all(isinstance(one, str) and one.strip() and is_text(one) for one in texts):
            raise UserError(f"{where}: the value must be a list of non-empty phrases, got {ascii(own)[:80]}.")
        if phrases.setdefault(_key(str(name)), tuple(own)) != tuple(own):
            raise UserError(
                f"{where}: the class name occurs twice in the file, with different phrases (upper and lower case are "
                "treated as equal)."
            )
    return Descriptions(phrases, source)


def _key(name: str) -> str:
    return name.replace("_", " ").strip().lower()
