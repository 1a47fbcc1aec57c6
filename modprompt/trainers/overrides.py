"""The settings that a user gave a codebase's program by files, flags and options, against those that it then has.

Some programs change settings after all files and options are merged (most often the number of epochs). A message names
each; --keep-settings restores the user's value. All is known from the command line: nothing is watched.
"""

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dassl.utils import set_random_seed
from yacs.config import CfgNode

from modprompt.compat import defaults
from modprompt.errors import UserError
from modprompt.io.settings import FLAGS, Given, Settings, as_text, flat, read_settings
from modprompt.methods.table import find_config

KEEP = "--keep-settings"
KEEPS = "MODPROMPT_KEEP_SETTINGS"  # in the environment: the same
_NO = ("", "0", "no", "false")
_SEVERAL = ("--source-domains", "--target-domains", "--transforms")  # flags with more than one value
_FILES = ("--dataset-config-file", "--config-file")  # merged in this order by the family
_WITH_VALUE = {*FLAGS.values(), *_FILES, "--model-dir", "--load-epoch"}
_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.\w+)+")  # the first word of the options
_FOLDERS = ("DATASET.ROOT", "OUTPUT_DIR", "RESUME")
_ABSENT = object()
_DASSL = "Dassl 0.6.3"  # its default counts where nobody gave a value


class Words(NamedTuple):
    """A program's words, by the flags of the family; a program's other flags are not told apart.

    flags: {flag as the family has it: the words after it}.
    options: the KEY VALUE words, which end a command.
    """

    flags: dict[str, list[str]]
    options: list[str]

    def value(self, flag: str) -> str:
        """The one value of a flag; empty if it is not given."""
        return next(iter(self.flags.get(flag, ())), "")

    def files(self) -> list[str]:
        """Paths of the config files, the data set's first."""
        return list(filter(None, map(self.value, _FILES)))

    def settings(self) -> Settings:
        """The settings that they give.

        Raises:
            UserError: if a file cannot be read.
        """
        flags = {key: self.flags.get(flag) if flag in _SEVERAL else self.value(flag) for key, flag in FLAGS.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the merge tells of old names
            return Settings.read(self.files(), flags, self.options)

    def trainer(self) -> str:
        """The name of the trainer that they, or their files, give; empty if they give none."""
        name = dict(zip(self.options[::2], self.options[1::2])).get("TRAINER.NAME") or self.value("--trainer")
        for path in [] if name else reversed(self.files()):
            with contextlib.suppress(UserError):
                name = name or str(read_settings(path).get("TRAINER.NAME", ""))
        return name


def words_of(given: Sequence[str], spelled: Mapping[str, str] = {}) -> Words:
    """Words of a command line that no program has parsed yet.

    Args:
        given: the words.
        spelled: the family's flags as the program spells them.
    """
    given = [word for word in given if word != KEEP]
    family = {own: flag for flag, own in spelled.items()}
    flags: dict[str, list[str]] = {}
    flag = before = ""
    for at, word in enumerate(given):
        if _KEY.fullmatch(word) and before not in _WITH_VALUE:
            return Words(flags, given[at:])
        if word.startswith("--"):
            word, is_joined, value = word.partition("=")
            word = flag = family.get(word, word)
            flags[flag] = [value] if is_joined else []
        else:
            flags.setdefault(flag, []).append(word)
        before = word
    return Words(flags, [])


def with_our_config(given: Sequence[str], spelled: Mapping[str, str] = {}) -> list[str]:
    """Words for a trainer of ours, with a missing --config-file replaced by its of that name; a message says so.

    Args:
        given: with NAME, NAME.yaml or configs/trainers/MPL/NAME.yaml after --config-file; other trainers' words stay.
        spelled: as words_of.
    """
    words, flag = words_of(given, spelled), spelled.get("--config-file", "--config-file")
    name = words.value("--config-file")
    folder, _, last = name.rpartition("/")
    trainer = "MPL" if words.trainer() == "ModMPL" else words.trainer()
    ours = (
        find_config(last.removesuffix(".yaml"), trainer) if folder.rpartition("/")[2] in ("", "MPL", "ModMPL") else None
    )
    if ours is None or Path(name).is_file():
        return list(given)
    print(f"The codebase has no config file {name}, so modprompt uses its own config file {ours}.")
    instead, joined = {(flag, name): str(ours)}, {f"{flag}={name}": f"{flag}={ours}"}
    return [instead.get((before, word), joined.get(word, word)) for before, word in zip(["", *given], given)]


_entered: list[Words] = []  # those of the codebase's program that now runs
_built: list[str] = []  # our trainers that it has built


def enter(given: Sequence[str], spelled: Mapping[str, str] = {}) -> None:
    """Note that from now on a codebase's own program runs, with these words; `spelled` as words_of."""
    leave()
    _entered.append(words_of(given, spelled))


def leave() -> bool:
    """Note that it has ended; whether it has built a trainer of ours."""
    has_built = bool(_built)
    _entered.clear()
    _built.clear()
    return has_built


def in_codebase() -> bool:
    """Whether a codebase's own program runs."""
    return bool(_entered)


def user_words() -> Words:
    """The words of the program that runs."""
    return _entered[0] if _entered else words_of(sys.argv[1:])


def keeps_settings() -> bool:
    """Whether the user's values of settings that a program changed are restored."""
    return os.environ.get(KEEPS, "").lower() not in _NO


def only_tests() -> bool:
    """Whether a codebase's program was told only to test."""
    return in_codebase() and "--eval-only" in user_words().flags


def model_to_test() -> tuple[str, int | None]:
    """(folder of a run, epoch) of the model that a program was given; "" or None if not given."""
    words = user_words()
    epoch = words.value("--load-epoch")
    return words.value("--model-dir"), int(epoch) if epoch else None


class Changed(NamedTuple):
    """A setting that differs from what was asked: the value asked for, where, and the actual value."""

    key: str
    asked: Given
    got: Any

    def __str__(self) -> str:
        asked, got = _short(self.asked.value), _short(self.got)
        if self.asked.source == _DASSL:
            return (
                f"{self.key} is {got} in this codebase's program or its Dassl, instead of the default {asked} of "
                f"{_DASSL}."
            )
        if self.got is _ABSENT:
            return (
                f"{self.key} {asked} ({self.asked.source}) has no effect because the configuration has no such setting."
            )
        return (
            f"{self.key} was set to {asked} ({self.asked.source}), but the codebase's program or config changed the "
            f"value to {got}."
        )

    def wanted(self) -> Any:
        """The value that was asked for, in the type of the configuration's; UserError if it has no such setting."""
        if self.got is _ABSENT:
            raise UserError(f"{KEEP} cannot keep a setting: {self}")
        value = self.asked.value if isinstance(self.got, str) else CfgNode._decode_cfg_value(self.asked.value)
        lists = isinstance(self.got, (tuple, list)) and isinstance(value, (tuple, list))
        return type(self.got)(value) if lists else value


def _short(value: Any) -> str:
    text = as_text(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def changed(cfg: CfgNode, settings: Settings) -> list[Changed]:
    """The settings of a configuration that differ from what was asked.

    Also those that decide numbers, were not given, and differ from Dassl 0.6.3's.
    """
    values, found = flat(cfg), []
    for key, asked in settings.items():
        from_file = asked.source.startswith("file ")  # a program may merge its two files in either order
        asks = [one.value for name, one in settings.given if name == key] if from_file else [asked.value]
        got = values.get(key, _ABSENT)
        if not any(_same(key, value, got) for value in asks):
            found.append(Changed(key, asked, got))
    others = {key: one for key, one in defaults.differing(cfg).items() if key not in settings}
    return [*found, *(Changed(key, Given(one.pinned, _DASSL), one.found) for key, one in others.items())]


def _same(key: str, asked: Any, got: Any) -> bool:
    if key in _FOLDERS and isinstance(got, str):
        return os.path.abspath(os.path.expanduser(str(asked))) == os.path.abspath(os.path.expanduser(got))
    return got is not _ABSENT and as_text(asked) == as_text(got)


def kept(cfg: CfgNode) -> dict[str, Any]:
    """Print each setting that a codebase's program changed, with the value asked for and the actual one.

    Only in a program of a codebase, before its trainer is built.

    Returns:
        If they are to be kept, the values that were asked for, by dotted key; a SEED among them is set.

    Raises:
        UserError: if the values are to be kept, and cannot be.
    """
    if not in_codebase():
        return {}
    _built.append(cfg.TRAINER.NAME)
    try:
        changes = changed(cfg, user_words().settings())
    except UserError as error:
        if keeps_settings():
            raise UserError(f"{KEEP} cannot keep the settings of the command line: {error}") from None
        print(f"note: modprompt cannot check whether this program changes the requested settings: {error}")
        return {}
    for one in changes:
        print(f"kept: {one} The requested value is restored." if keeps_settings() else f"note: {one}")
    if keeps_settings():
        values = {one.key: one.wanted() for one in changes}
        if "SEED" in values:
            set_random_seed(values["SEED"])  # the program has already set its own
        return values
    if changes:
        print(f"note: to keep your own {'values' if len(changes) > 1 else 'value'} instead, use {KEEP}.")
    return {}
