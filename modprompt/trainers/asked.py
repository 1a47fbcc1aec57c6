"""What a codebase's user asked for, by files, flags and options, against the configuration that its program made.

Some programs change settings after all files and options are merged (the number of epochs, most of all). Each is told;
--keep-settings gives it the user's value back.
"""

import os
import re
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from dassl.utils import set_random_seed
from yacs.config import CfgNode

from modprompt.errors import UserError
from modprompt.runs.settings import FLAGS, Given, Settings, as_text
from modprompt.trainers import merging

KEEP = "--keep-settings"
KEEPS = "MODPROMPT_KEEP_SETTINGS"  # in the environment: the same
_FILES = ("--dataset-config-file", "--config-file")  # merged in this order by the family
_FOLDERS = ("DATASET.ROOT", "OUTPUT_DIR", "RESUME")
_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.\w+)*")
_ABSENT = object()


class Changed(NamedTuple):
    """A setting that is other than asked for: what was asked and by whom, what it is, and where it was changed."""

    key: str
    asked: Given
    got: Any
    place: str

    def __str__(self) -> str:
        got = "it is in no configuration" if self.got is _ABSENT else f"got {_short(self.got)}"
        where = f"changed at {self.place}" if self.place else "nobody has merged it"
        return f"{self.key}: asked {_short(self.asked.value)} ({self.asked.source}), {got} ({where})"


def _short(value: Any) -> str:
    text = as_text(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def take_flag(words: List[str]) -> None:
    """Take --keep-settings, which no codebase knows, out of a program's words, in place."""
    if KEEP in words:
        words[:] = [word for word in words if word != KEEP]
        os.environ[KEEPS] = "1"


def keeps_settings() -> bool:
    """Whether settings that a program changed get the user's values back."""
    return os.environ.get(KEEPS, "") not in ("", "0")


def split_words(words: Sequence[str], cfg: CfgNode) -> Tuple[Dict[str, str], List[str]]:
    """({flag: its last value}, KEY VALUE words) of a program whose own flags nobody knows.

    The KEY VALUE words begin with the first that names a setting and is no flag's value.

    Args:
        words: behind the program's name.
        cfg: its configuration.
    """
    flags: Dict[str, str] = {}
    known = {*FLAGS.values(), *_FILES}
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        if word.startswith("--"):
            name, joined, value = word.partition("=")
            if joined:
                flags[name] = value
        elif _is_key(word, cfg) and before not in known:
            return flags, list(words[at:])
        elif before.startswith("--") and "=" not in before:
            flags[before] = word
    return flags, []


def _is_key(word: str, cfg: CfgNode) -> bool:
    return bool(_KEY.fullmatch(word)) and ("." in word or word in cfg)


def read(words: Sequence[str], cfg: CfgNode) -> Settings:
    """What a program's words ask for: files in the order in which they were merged, flags, options.

    Raises:
        UserError: if a file that it was given cannot be read.
    """
    flags, options = split_words(words, cfg)
    merged = [one.given for one in merging.merged_into(cfg)]
    files = [flags[name] for name in _FILES if flags.get(name)]
    files.sort(key=lambda path: merged.index(path) if path in merged else len(merged))
    several = {flag for flag in FLAGS.values() if flag in ("--source-domains", "--target-domains", "--transforms")}
    given = {key: flags[flag] for key, flag in FLAGS.items() if flag in flags and flag not in several}
    return Settings.read(files, given, options[: len(options) // 2 * 2])


def changed(cfg: CfgNode, words: Sequence[str]) -> List[Changed]:
    """The settings of a configuration that are other than a program's words ask for.

    What a flag of the codebase's own says word for word is the user's too, and no change.

    Raises:
        UserError: as read.
    """
    settings = read(words, cfg)
    flags, _ = split_words(words, cfg)
    others = {as_text(value) for flag, value in flags.items() if flag not in (*FLAGS.values(), *_FILES)}
    found = []
    for key, asked in settings.items():
        got = _value(cfg, key)
        if not _same(key, asked.value, got) and as_text(got) not in others:
            found.append(Changed(key, asked, got, merging.place_of(cfg, key)))
    return found


def _value(cfg: CfgNode, key: str) -> Any:
    node: Any = cfg
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return _ABSENT
        node = node[part]
    return node


def _same(key: str, asked: Any, got: Any) -> bool:
    if key in _FOLDERS and isinstance(got, str):
        return os.path.abspath(os.path.expanduser(str(asked))) == os.path.abspath(os.path.expanduser(got))
    return got is not _ABSENT and as_text(asked) == as_text(got)


def put_back(cfg: CfgNode, changes: Sequence[Changed]) -> None:
    """Give settings the values that were asked for, in place, in the type that they have.

    Raises:
        UserError: if a configuration has no such setting.
    """
    frozen = cfg.is_frozen()
    cfg.defrost()
    for one in changes:
        if one.got is _ABSENT:
            raise UserError(f"{KEEP}: {one}")
        *path, leaf = one.key.split(".")
        node = cfg
        for part in path:
            node = node[part]
        value = one.asked.value
        if not one.asked.is_flag:
            value = CfgNode._decode_cfg_value(value)
        if isinstance(node[leaf], (tuple, list)) and isinstance(value, (tuple, list)):
            value = type(node[leaf])(value)
        node[leaf] = type(node[leaf])(value) if type(node[leaf]) in (int, float) and one.asked.is_flag else value
    if frozen:
        cfg.freeze()


def only_tests(words: Sequence[str]) -> bool:
    """Whether a watched program's words ask for a test alone."""
    return merging.is_watched() and "--eval-only" in words


def model_to_test(words: Sequence[str]) -> Tuple[str, Optional[int]]:
    """(folder of a run, epoch) of the model that a program's words name; "" or None where they name none.

    Raises:
        UserError: if the epoch is no number.
    """
    flags, _ = split_words(words, CfgNode())
    epoch = flags.get("--load-epoch")
    if epoch is not None and not epoch.isdigit():
        raise UserError(f"--load-epoch must be the number of an epoch, got {epoch!r}")
    return flags.get("--model-dir", ""), None if epoch is None else int(epoch)


def settle(cfg: CfgNode) -> None:
    """Say of each setting that a codebase's program changed what was asked for and what it is; or put it back.

    Only in a program that is watched (merging.py), and before its trainer is built.
    """
    if not merging.is_watched():
        return
    changes = changed(cfg, sys.argv[1:])
    for one in changes:
        print(f"{'kept' if keeps_settings() else 'note'}: {one}")
    if changes and keeps_settings():
        put_back(cfg, changes)
        if any(one.key == "SEED" for one in changes):
            set_random_seed(cfg.SEED)  # the program has seeded with its own by now
    elif changes:
        print(f"note: {KEEP} gives {'them' if len(changes) > 1 else 'it'} the value that was asked for")
