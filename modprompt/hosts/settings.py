"""Changes to yacs that other codebases need before they merge config files and options with modprompt's settings.

modprompt's own programs merge settings in trainers/config.py and use yacs unchanged.
"""

import functools
from collections.abc import Iterator
from typing import Any

from yacs.config import CfgNode

from modprompt.io.settings import flat, level_of, names_base, read_settings
from modprompt.trainers.config_nodes import add_defaults, is_number, is_switch

MERGES = ("merge_from_file", "merge_from_list", "merge_from_other_cfg")  # the functions of CfgNode that are replaced


def patch_yacs() -> None:
    """Replace the three merge functions of CfgNode in this process; repeated calls do nothing.

    A codebase's program may have removed the settings of all other trainers from Dassl's defaults, so a merge first
    adds the settings that are missing. yacs compares the type of a new value with the type of the present value, so a
    setting that accepts several types takes the type of the new value first. yacs does not know `_BASE_`, so a config
    file with a base is merged as its key-value pairs.
    """
    for name in MERGES:
        if not is_patched(name):
            setattr(CfgNode, name, _prepared(name))


def is_patched(name: str) -> bool:
    """Return True if a merge function of CfgNode, by its name, is the one of this module."""
    return hasattr(getattr(CfgNode, name), "unpatched")


def _prepared(name: str) -> Any:
    """Return a merge function of CfgNode that prepares the configuration, and then merges as the original does."""
    original = getattr(CfgNode, name)

    @functools.wraps(original)
    def merge(self: CfgNode, *args: Any, **kwargs: Any) -> Any:
        source = next(iter((*args, *kwargs.values())), None)
        if isinstance(self.get("TRAINER"), CfgNode) and not self.is_frozen():
            add_defaults(self)
            for key, value in _pairs(source):
                _accept(self, key, value)
        if name == "merge_from_file" and names_base(source):
            return self.merge_from_list([word for pair in read_settings(str(source)).items() for word in pair])
        return original(self, *args, **kwargs)

    vars(merge)["unpatched"] = original
    return merge


def _pairs(source: Any) -> Iterator[tuple[str, Any]]:
    """Return the (dotted key, value) pairs of what is merged; none for the path of a file."""
    if isinstance(source, (list, tuple)):
        yield from zip(map(str, source[0::2]), source[1::2])
    elif isinstance(source, CfgNode):
        yield from flat(source).items()


def _accept(cfg: CfgNode, key: str, value: Any) -> None:
    """Give a setting that accepts several types the type of the value that is about to be merged, in place."""
    placeholder: Any = None
    if is_switch(key):
        placeholder = False if str(value) in ("True", "False") else ""
    elif is_number(key):
        placeholder = _zero_like(value)
    node, name = level_of(cfg, key)
    if placeholder is not None and name in (node or ()):
        node[name] = placeholder  # the merge replaces it at once


def _zero_like(value: Any) -> float | None:
    """Return zero in the type that yacs reads from a number or its text; None if the value is not a number."""
    try:
        float(value)
    except (TypeError, ValueError):
        return None
    is_whole = isinstance(value, int) or (isinstance(value, str) and value.strip().lstrip("+-").isdigit())
    return 0 if is_whole else 0.0
