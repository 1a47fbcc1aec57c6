"""The words of a codebase's program, as its own parser has understood them: which of its flags a user gave, and what.

The parser is argparse's in all of the family. While a program is watched each parse is noted, and every parser knows
one flag of ours, --keep-settings, of which the program is not told.
"""

import argparse
import functools
import os
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from modprompt import places
from modprompt.runs.settings import FLAGS, name_of_flag

KEEP = "--keep-settings"
KEEPS = "MODPROMPT_KEEP_SETTINGS"  # in the environment: the same
FILES = ("dataset_config_file", "config_file")  # merged in this order by the family


class Words(NamedTuple):
    """What a user gave.

    flags: {name in the parser's namespace: value} of the flags that stand on the command line.
    options: the KEY VALUE words.
    """

    flags: Dict[str, Any]
    options: Tuple[str, ...]

    def settings(self) -> Dict[str, Any]:
        """The flags of the family, as {dotted key: value}."""
        named = {key: name_of_flag(flag) for key, flag in FLAGS.items()}
        return {key: self.flags[name] for key, name in named.items() if name in self.flags}

    def files(self) -> List[str]:
        """Paths of the config files, that of the data set first."""
        return [str(self.flags[name]) for name in FILES if self.flags.get(name)]

    def own_flags(self) -> List[str]:
        """Names of the flags that are the program's own, and not the family's."""
        family = map(name_of_flag, FLAGS.values())
        known = {*family, *FILES, "eval_only", "model_dir", "load_epoch"}
        return [name for name in self.flags if name not in known]

    @property
    def trainer(self) -> str:
        """The trainer that is asked for, as far as the command line says it; else empty."""
        pairs = dict(zip(self.options[::2], self.options[1::2]))
        return str(pairs.get("TRAINER.NAME") or self.flags.get("trainer") or "")


def trainer_of(given: Sequence[str]) -> str:
    """The name of the trainer that words ask for which nobody has parsed yet; empty if they name none."""
    name = ""
    for before, word in zip(("", *given), given):
        if before in ("--trainer", "TRAINER.NAME"):
            name = word
        elif word.startswith("--trainer="):
            name = word.partition("=")[2]
    return name


def with_our_config(given: Sequence[str]) -> List[str]:
    """Words for MPL with a --config-file that is not there replaced by ours of that name; a line says so.

    Args:
        given: NAME, NAME.yaml or configs/trainers/MPL/NAME.yaml behind --config-file; of other trainers all stays.
    """
    ours = {path.stem: path for path in (places.configs() / "trainers" / "MPL").glob("*.yaml")}
    found = list(given)
    if trainer_of(found) not in ("MPL", "ModMPL"):
        return found
    for at, (before, word) in enumerate(zip(["", *found], given)):
        joined = word.startswith("--config-file=")
        path = Path(word.partition("=")[2] if joined else word)
        named = path.parent.name in ("", "MPL", "ModMPL") and path.name in (path.stem, f"{path.stem}.yaml")
        if (joined or before == "--config-file") and named and path.stem in ours and not path.is_file():
            print(f"{path} is not in this codebase; taken from modprompt: {ours[path.stem]}")
            found[at] = f"--config-file={ours[path.stem]}" if joined else str(ours[path.stem])
    return found


_parsed: List[Words] = []  # the last that had a trainer or a config file, or else the last


def parsed() -> Optional[Words]:
    """The words of this program; None if it has parsed none yet, or not by argparse."""
    return _parsed[-1] if _parsed else None


def watch(is_ours: Callable[[], bool]) -> None:
    """Note from now on what programs parse.

    Args:
        is_ours: whether a program is asked for one of our trainers.
    """
    plain = argparse.ArgumentParser.parse_known_args
    if "watches" in vars(plain):
        return

    @functools.wraps(plain)
    def parse_known_args(self: Any, args: Any = None, namespace: Any = None) -> Any:
        if KEEP not in self._option_string_actions:
            text = "give settings that this program changes the values that files and options ask for (modprompt)"
            self.add_argument(KEEP, action="store_true", default=argparse.SUPPRESS, help=text)
        args = sys.argv[1:] if args is None else args
        args = with_our_config(args) if is_ours() else args
        found, rest = plain(self, args, namespace)
        _take_flag(self, found)
        _note(_words_of(self, found, args))
        return found, rest

    vars(parse_known_args)["watches"] = True
    setattr(argparse.ArgumentParser, "parse_known_args", parse_known_args)  # noqa: B010 - mypy


def unwatch() -> None:
    """The end of watch; nothing is known any more."""
    noted: Any = argparse.ArgumentParser.parse_known_args
    if "watches" in vars(noted):
        setattr(argparse.ArgumentParser, "parse_known_args", noted.__wrapped__)  # noqa: B010
    _parsed.clear()


def _take_flag(parser: argparse.ArgumentParser, found: argparse.Namespace) -> None:
    """Take our flag out of what a program gets; behind the first option argparse takes it for one, too."""
    given = vars(found).pop(name_of_flag(KEEP), False)
    for action in parser._actions:
        value = getattr(found, action.dest, None)
        if action.nargs == argparse.REMAINDER and isinstance(value, list) and KEEP in value:
            given, value[:] = True, [word for word in value if word != KEEP]
    if given:
        os.environ[KEEPS] = "1"


def _note(words: Words) -> None:
    known = {"trainer", *FILES}
    if known & set(words.flags) or not (_parsed and known & set(_parsed[-1].flags)):
        _parsed[:] = [words]


def _words_of(parser: argparse.ArgumentParser, found: Any, args: Sequence[str]) -> Words:
    given = _given_flags(parser, args)
    flags: Dict[str, Any] = {}
    options: List[str] = []
    for action in parser._actions:
        value = getattr(found, action.dest, None)
        if action.nargs == argparse.REMAINDER or action.dest == "opts":
            options += [str(word) for word in value or ()]
        elif given & {*action.option_strings} and value is not None and value != "":
            flags[action.dest] = value
    return Words(flags, tuple(options))


def _given_flags(parser: argparse.ArgumentParser, args: Sequence[str]) -> Set[str]:
    """The flags that stand among words, in full; argparse takes as much of one as tells it from the others."""
    known = {name for action in parser._actions for name in action.option_strings}
    words = {word.partition("=")[0] for word in args if word.startswith("-")}
    cut = {word for word in words - known if len(word) > 2}
    return (words & known) | {name for name in known if any(name.startswith(word) for word in cut)}
