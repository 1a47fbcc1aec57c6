"""What a codebase's user asked for, by files, flags and options, against the configuration that its program made.

Some programs change settings after all files and options are merged (the number of epochs, most of all). Each is told;
--keep-settings gives it the user's value back.
"""

import ast
import contextlib
import os
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from dassl.utils import set_random_seed
from yacs.config import CfgNode

from modprompt.compat import defaults
from modprompt.errors import UserError
from modprompt.runs.settings import FLAGS, Given, as_text, pairs, read_settings
from modprompt.trainers import merging
from modprompt.trainers.words import KEEP, KEEPS, Words, parsed

_NO = ("", "0", "no", "false")
_FOLDERS = ("DATASET.ROOT", "OUTPUT_DIR", "RESUME")
_ABSENT = object()
_DASSL = "Dassl 0.6.3"  # whose default is meant where nobody asked


class Changed(NamedTuple):
    """A setting that is other than asked for: what was asked and by whom, what it is, and where it was changed."""

    key: str
    asked: Given
    got: Any
    place: str

    def __str__(self) -> str:
        if self.asked.source == _DASSL:
            theirs, pinned_to = _short(self.got), _short(self.asked.value)
            whose = f"{_seen_from_here(self.place)} sets" if self.place else "this Dassl has"
            return f"{self.key}: nobody gave it; {whose} {theirs}, {_DASSL} has {pinned_to}"
        got = "it is in no configuration" if self.got is _ABSENT else f"got {_short(self.got)}"
        where = f"changed at {_seen_from_here(self.place)}" if self.place else "nobody has set it"
        return f"{self.key}: asked {_short(self.asked.value)} ({self.asked.source}), {got} ({where})"


def _short(value: Any) -> str:
    text = as_text(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _seen_from_here(path: str) -> str:
    with contextlib.suppress(ValueError, OSError):  # another drive, a folder that is gone
        return min(path, os.path.relpath(path), key=len)
    return path


def keeps_settings() -> bool:
    """Whether settings that a program changed get the user's values back."""
    return os.environ.get(KEEPS, "").lower() not in _NO


def given(cfg: CfgNode, words: Words) -> Dict[str, Given]:
    """What a user asked for, by dotted key: files in the order in which they were merged, flags, options.

    Raises:
        UserError: if a file that nobody has merged cannot be read, or an option stands without its value.
    """
    merged = merging.files_of(cfg)
    order = [path for path, _ in merged]
    files = sorted(words.files(), key=lambda path: order.index(path) if path in order else len(order))
    found: Dict[str, Given] = {}
    for path in files:
        values = dict(merged[order.index(path)][1]) if path in order else read_settings(path)
        found.update((key, Given(value, f"file {path}")) for key, value in values.items())
    found.update((key, Given(value, f"flag {FLAGS[key]}")) for key, value in words.settings().items())
    found.update((key, Given(value, "option")) for key, value in pairs(words.options))
    return found


def changed(cfg: CfgNode, words: Words) -> List[Changed]:
    """The settings of a configuration that are other than a program's words ask for.

    What the program sets by a flag of its own, which the user gave, is the user's too, and no change.

    Raises:
        UserError: as given.
    """
    found = []
    for key, asked in given(cfg, words).items():
        got, place = _value(cfg, key), merging.place_of(cfg, key)
        if not _same(key, asked.value, got) and not _is_by(place, words.own_flags()):
            found.append(Changed(key, asked, got, place))
    return found


def _value(cfg: CfgNode, key: str) -> Any:
    node, leaf = merging.node_of(cfg, key)
    return _ABSENT if node is None else node.get(leaf, _ABSENT)


def _same(key: str, asked: Any, got: Any) -> bool:
    if key in _FOLDERS and isinstance(got, str):
        return os.path.abspath(os.path.expanduser(str(asked))) == os.path.abspath(os.path.expanduser(got))
    return got is not _ABSENT and as_text(asked) == as_text(got)


def _is_by(place: str, flags: Iterable[str]) -> bool:
    """Whether the statement at FILE:LINE, or a condition around it, looks at one of these names in a namespace."""
    path, _, line = place.rpartition(":")
    names = {*flags}
    if not path or not names:
        return False
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        for node in ast.walk(ast.parse(Path(path).read_bytes())):
            if isinstance(node, ast.stmt) and not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                seen: List[ast.AST] = [node] if not hasattr(node, "body") else [getattr(node, "test", ast.Pass())]
                if node.lineno <= int(line) <= (node.end_lineno or node.lineno) and any(
                    isinstance(part, ast.Attribute) and part.attr in names for one in seen for part in ast.walk(one)
                ):
                    return True
    return False


def by_nobody(cfg: CfgNode, asked_for: Iterable[str]) -> List[Changed]:
    """Settings that nobody gave and that decide numbers, where Dassl 0.6.3 has another value."""
    others = {key: one for key, one in defaults.differing(cfg).items() if key not in {*asked_for}}
    return [
        Changed(key, Given(one.pinned, _DASSL), one.found, merging.place_of(cfg, key)) for key, one in others.items()
    ]


def put_back(cfg: CfgNode, changes: Sequence[Changed]) -> None:
    """Give settings the values that were asked for, in place, in the type that they have.

    Raises:
        UserError: if a configuration has no such setting.
    """
    frozen = cfg.is_frozen()
    cfg.defrost()
    for one in changes:
        node, leaf = merging.node_of(cfg, one.key)
        if node is None or one.got is _ABSENT:
            raise UserError(f"{KEEP}: {one}")
        value = one.asked.value
        if not one.asked.is_flag:
            value = CfgNode._decode_cfg_value(value)
        if isinstance(one.got, (tuple, list)) and isinstance(value, (tuple, list)):
            value = type(one.got)(value)
        node[leaf] = value
    if frozen:
        cfg.freeze()


def only_tests() -> bool:
    """Whether a watched program was asked for a test alone."""
    words = parsed()
    return words is not None and bool(words.flags.get("eval_only"))


def model_to_test() -> Tuple[str, Optional[int]]:
    """(folder of a run, epoch) of the model that a watched program was given; "" or None where it was given none."""
    words = parsed()
    flags = words.flags if words else {}
    epoch = flags.get("load_epoch")
    return str(flags.get("model_dir", "")), None if epoch is None else int(epoch)


def settle(cfg: CfgNode) -> None:
    """Say of each setting that a codebase's program changed what was asked for and what it is; or put it back.

    Only in a program that is watched (merging.py), and before its trainer is built.
    """
    if not merging.is_watched():
        return
    words = parsed()
    if words is None:
        print("note: this program does not read its words by argparse: what it changes of them is not known")
        return
    changes = [*changed(cfg, words), *by_nobody(cfg, given(cfg, words))]
    for one in changes:
        print(f"{'kept' if keeps_settings() else 'note'}: {one}")
    if changes and keeps_settings():
        put_back(cfg, changes)
        if any(one.key == "SEED" for one in changes):
            set_random_seed(cfg.SEED)  # the program has seeded with its own by now
    elif changes:
        print(f"note: {KEEP} gives {'them' if len(changes) > 1 else 'it'} the value that was asked for")
