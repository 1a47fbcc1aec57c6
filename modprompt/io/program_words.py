"""The command line of another codebase's program: its flags, config files and options.

modprompt's trainers run inside such a program and read from its command line what the user has set. `enter` and `leave`
mark when a program runs.
"""

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from modprompt.errors import UserError
from modprompt.io.settings import FLAGS, Settings, read_settings

KEEP = "--keep-settings"
KEEPS = "MODPROMPT_KEEP_SETTINGS"  # an environment variable with the meaning of the flag
_NO = ("", "0", "no", "false")
_SEVERAL = ("--source-domains", "--target-domains", "--transforms")  # flags with more than one value
_FILES = ("--dataset-config-file", "--config-file")  # merged in this order by programs of the CoOp family
_WITH_VALUE = {*FLAGS.values(), *_FILES, "--model-dir", "--load-epoch"}
_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.\w+)+")  # the first word of the options


class Words(NamedTuple):
    """The words of a command line.

    Attributes:
        flags: the words after each flag, by the name of the flag in the CoOp family.
        options: the KEY VALUE words at the end of the command line.
    """

    flags: dict[str, list[str]]
    options: list[str]

    def value(self, flag: str) -> str:
        """Return the value of a flag; empty if the flag is not used."""
        return next(iter(self.flags.get(flag, ())), "")

    def files(self) -> list[str]:
        """Return the paths of the config files, that of the data set first."""
        return list(filter(None, map(self.value, _FILES)))

    def settings(self) -> Settings:
        """Return the settings that files, flags and options set.

        Raises:
            UserError: if a file cannot be read.
        """
        flags = {key: self.flags.get(flag) if flag in _SEVERAL else self.value(flag) for key, flag in FLAGS.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the program itself merges the settings and repeats the warnings
            return Settings.read(self.files(), flags, self.options)

    def trainer(self) -> str:
        """Return the name of the trainer that options, flags or files set; empty if none of them sets one."""
        name = dict(zip(self.options[::2], self.options[1::2])).get("TRAINER.NAME") or self.value("--trainer")
        for path in [] if name else reversed(self.files()):
            with contextlib.suppress(UserError):
                name = name or str(read_settings(path).get("TRAINER.NAME", ""))
        return name

    def model_to_test(self) -> tuple[str, int | None]:
        """Return --model-dir and --load-epoch; an empty text and None where the flag is not used."""
        epoch = self.value("--load-epoch")
        return self.value("--model-dir"), int(epoch) if epoch else None


def words_of(given: Sequence[str], spelled: Mapping[str, str] = {}) -> Words:
    """Split a command line into flags and options.

    Args:
        given: the words after the name of the program.
        spelled: the program's own spelling of flags, by their names in the CoOp family.
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


_entered: list[Words] = []  # the words of the program that runs; empty if the process runs a program of this project
_built: list[str] = []  # trainers of this project that the program has built


def enter(given: Sequence[str], spelled: Mapping[str, str] = {}) -> None:
    """Record that a program of another codebase runs from now on; for the arguments see words_of."""
    leave()
    _entered.append(words_of(given, spelled))


def leave() -> bool:
    """Record that the program has ended, and return True if the program built a trainer of this project."""
    has_built = bool(_built)
    _entered.clear()
    _built.clear()
    return has_built


def in_codebase() -> bool:
    """Return True while a program of another codebase runs."""
    return bool(_entered)


def record_built(trainer: str) -> None:
    """Record that the program has built a trainer of this project."""
    if in_codebase():
        _built.append(trainer)


def user_words() -> Words:
    """Return the words of the program that runs."""
    return _entered[0] if _entered else words_of(sys.argv[1:])


def keeps_settings() -> bool:
    """Return True if settings that a program changes get the user's values back (--keep-settings)."""
    return os.environ.get(KEEPS, "").lower() not in _NO


def only_tests() -> bool:
    """Return True if a program of another codebase was started with --eval-only."""
    return in_codebase() and "--eval-only" in user_words().flags
