"""A codebase's configuration, watched while its program makes it: who set what where, and what files gave.

Nothing of yacs changes but that each change is noted, on the node itself and in plain values, so that a clone has the
notes too and a pickle of it is read by anybody.
"""

import copy
import functools
import os
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import yacs.config
from yacs.config import CfgNode

from modprompt.places import OUR_CODE
from modprompt.runs.settings import flat
from modprompt.trainers import mistakes, words

_SET, _FILES = "modprompt_set", "modprompt_files"  # on a node: {key: FILE:LINE}, [(path, {dotted key: value})]
_MERGES = ("merge_from_file", "merge_from_list", "merge_from_other_cfg")
_not_the_program = (yacs.config.__file__, *OUR_CODE, functools.__file__)
_merging: List[Tuple[int, Dict[str, Any]]] = []  # of nodes: a merge of a file goes on as one of a configuration


def _place() -> str:
    """FILE:LINE of the program that changes a configuration; empty in a copy."""
    frame = sys._getframe(2)
    if frame.f_code.co_filename == copy.__file__:
        return ""
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_not_the_program):
        frame = frame.f_back
    return f"{os.path.abspath(frame.f_code.co_filename)}:{frame.f_lineno}"


def is_watched() -> bool:
    """Whether changes are noted."""
    return "__setitem__" in vars(CfgNode)


def watch(is_ours: Callable[[], bool]) -> None:
    """Note from now on who changes a configuration, and what the program parses; once, however often it is asked.

    Args:
        is_ours: whether the program is asked for one of our trainers: then it is noted on an error of what its user
            gives how a user is told.
    """
    words.watch(is_ours)
    if is_watched():
        return

    def noted(self: CfgNode, name: str, value: Any) -> None:
        dict.__setitem__(self, name, value)
        place = _place()
        if place:
            vars(self).setdefault(_SET, {})[name] = place

    setattr(CfgNode, "__setitem__", noted)  # noqa: B010 - it has none of its own
    for name in _MERGES:
        setattr(CfgNode, name, _noting(getattr(CfgNode, name), is_ours))


def unwatch() -> None:
    """As it was before watch."""
    words.unwatch()
    if not is_watched():
        return
    del CfgNode.__setitem__
    for name in _MERGES:
        setattr(CfgNode, name, getattr(CfgNode, name).__wrapped__)


def _noting(plain: Callable[..., Any], is_ours: Callable[[], bool]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def merge(self: CfgNode, *args: Any, **kwargs: Any) -> Any:
        given = next(iter((*args, *kwargs.values())), None)
        if _merging and _merging[-1][0] == id(self):  # what the file holds
            _merging[-1][1].update(flat(given or {}))
            return plain(self, *args, **kwargs)
        _merging.append((id(self), {}))
        try:
            done = plain(self, *args, **kwargs)
        except Exception as error:
            if is_ours():
                mistakes.note(error, self, given)
            raise
        finally:
            held = _merging.pop()[1]
        if isinstance(given, (str, Path)):
            vars(self).setdefault(_FILES, []).append((str(given), held))
        return done

    return merge


def files_of(cfg: CfgNode) -> List[Tuple[str, Dict[str, Any]]]:
    """(path, {dotted key: value}) of the files that were merged into a configuration, in order."""
    return list(vars(cfg).get(_FILES, []))


def node_of(cfg: CfgNode, key: str) -> Tuple[Optional[CfgNode], str]:
    """The node in which a setting stands, by its dotted key, and its name there; None if there is no such node."""
    *path, leaf = key.split(".")
    node: Any = cfg
    for part in path:
        node = node.get(part) if isinstance(node, CfgNode) else None
    return (node if isinstance(node, CfgNode) else None), leaf


def place_of(cfg: CfgNode, key: str) -> str:
    """FILE:LINE of the last change of a setting; empty if nobody has noted any."""
    node, leaf = node_of(cfg, key)
    place: str = "" if node is None else vars(node).get(_SET, {}).get(leaf, "")
    return place
