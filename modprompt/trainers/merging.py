"""A codebase's configuration, watched while its program makes it: who set what where, and mistakes as one line.

Nothing of yacs changes but that each change is noted, on the node itself, so that a clone has the notes too.
"""

import contextlib
import functools
import itertools
import os
import sys
from typing import Any, Callable, Iterable, List, NamedTuple, Tuple

from yacs.config import CfgNode

from modprompt.errors import UserError
from modprompt.runs.settings import read_settings
from modprompt.trainers import mistakes

_SET, _MERGED = "modprompt_set", "modprompt_merged"  # on a node: {key: (number, place)}, [Merge, ...]
_MERGES = ("merge_from_file", "merge_from_list", "merge_from_other_cfg")
_number = itertools.count()
_merging: List[int] = []  # of nodes: a merge of a file goes on as one of a configuration


class Merge(NamedTuple):
    """A merge into a configuration: its number among all changes, FILE:LINE of its call, and what was merged."""

    number: int
    place: str
    given: Any  # the path of a file, KEY VALUE words or a configuration

    def changes(self) -> Iterable[str]:
        """The dotted keys that it set."""
        if isinstance(self.given, str):
            with contextlib.suppress(UserError):  # the file is gone, or not one that is read here
                return list(read_settings(self.given))
            return []
        return self.given[0::2] if isinstance(self.given, (list, tuple)) else list(_dotted(self.given))


def _dotted(node: Any, prefix: str = "") -> Iterable[str]:
    for key, value in node.items():
        yield from _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]


def _place(depth: int) -> str:
    """FILE:LINE of the frame so many above the one that asks, as seen from the current folder."""
    frame = sys._getframe(depth + 1)
    path = frame.f_code.co_filename
    with contextlib.suppress(ValueError):  # another drive
        path = min(path, os.path.relpath(path), key=len)
    return f"{path}:{frame.f_lineno}"


def is_watched() -> bool:
    """Whether changes are noted."""
    return hasattr(CfgNode.__setattr__, "watches")


def watch(is_ours: Callable[[], bool]) -> None:
    """Note from now on who changes a configuration; once, however often it is asked.

    Args:
        is_ours: whether the program is asked for one of our trainers: then what cannot be merged is a UserError.
    """
    if is_watched():
        return
    plain = CfgNode.__setattr__

    @functools.wraps(plain)
    def noted(self: CfgNode, name: str, value: Any) -> None:
        plain(self, name, value)
        vars(self).setdefault(_SET, {})[name] = (next(_number), _place(1))

    vars(noted)["watches"] = True
    CfgNode.__setattr__ = noted
    for name in _MERGES:
        setattr(CfgNode, name, _noting(getattr(CfgNode, name), is_ours))


def unwatch() -> None:
    """As it was before watch."""
    for name in ("__setattr__", *_MERGES):
        method = getattr(CfgNode, name)
        if "watches" in vars(method):
            setattr(CfgNode, name, method.__wrapped__)


def _noting(plain: Callable[..., Any], is_ours: Callable[[], bool]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def merge(self: CfgNode, *args: Any, **kwargs: Any) -> Any:
        if id(self) in _merging:
            return plain(self, *args, **kwargs)
        place, given = _place(1), next(iter((*args, *kwargs.values())), None)
        _merging.append(id(self))
        try:
            done = plain(self, *args, **kwargs)
        except (KeyError, ValueError, AssertionError, OSError) as error:
            if is_ours():
                raise mistakes.of_merge(self, given, error) from error
            raise
        finally:
            _merging.pop()
        vars(self).setdefault(_MERGED, []).append(Merge(next(_number), place, given))
        return done

    vars(merge)["watches"] = True
    return merge


def merged_into(cfg: CfgNode) -> List[Merge]:
    """What was merged into a configuration, in order."""
    return list(vars(cfg).get(_MERGED, []))


def place_of(cfg: CfgNode, key: str) -> str:
    """FILE:LINE of the last change of a setting; empty if nobody has noted any."""
    found: List[Tuple[int, str]] = [(one.number, one.place) for one in merged_into(cfg) if key in one.changes()]
    *path, leaf = key.split(".")
    node: Any = cfg
    for part in path:
        node = node.get(part, {}) if isinstance(node, dict) else {}
    if isinstance(node, CfgNode) and leaf in vars(node).get(_SET, {}):
        found.append(vars(node)[_SET][leaf])
    return max(found)[1] if found else ""
