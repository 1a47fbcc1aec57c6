"""Dassl 0.6.3's defaults: the small Dassl has them, and they decide numbers with every Dassl.

A codebase's own Dassl may have others: HiCroPL's has TEST.FINAL_MODEL best_val, whose validation draws random numbers.

With the small Dassl a key can only be set if it is here or a trainer adds it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from yacs.config import CfgNode

from modprompt.compat.run_settings import DASSL
from modprompt.fields import Configured
from modprompt.io.settings import FLAGS, FREE, as_text, flat, level_of

_LISTS = ("PIXEL_MEAN", "PIXEL_STD")  # Dassl has lists for these, tuples for other sequences


def node_of(cls: type[Configured]) -> dict[str, Any]:
    """A node's defaults, by key, as Dassl writes them; without those of the class's base, if it is of the same node."""
    base: Any = cls.__base__
    before = {one.key for one in base.settings()} if base.node == cls.node else set()
    news = [one for one in cls.settings() if one.key not in before]
    return {one.key: list(one.default) if one.key in _LISTS else one.default for one in news}


def add(cfg: CfgNode, classes: Sequence[type[Configured]]) -> None:
    """Add to a configuration, in place, the defaults of these nodes, where they are missing."""
    for cls in classes:
        node = cfg
        for part in filter(None, cls.node.split(".")):
            if part not in node:
                node[part] = CfgNode()
            node = node[part]
        for key, value in node_of(cls).items():
            if key not in node:
                node[key] = value


DEFAULTS = CfgNode()
add(DEFAULTS, DASSL)
DEFAULTS.TRAINER = CfgNode({"NAME": ""})

_OWNED = ("DATASET.", "VERSION", "USE_CUDA")  # set by data sets' files, or not compared


class Default(NamedTuple):
    """A Dassl's default, and that of Dassl 0.6.3."""

    found: Any
    pinned: Any


def pinned() -> dict[str, Any]:
    """Defaults by dotted key, without those of flags, of data sets' files and of settings that decide no number."""
    decides_nothing = {*FLAGS, *FREE}
    deciding = {key: value for key, value in flat(DEFAULTS).items() if key not in decides_nothing}
    return {key: value for key, value in deciding.items() if not key.startswith(_OWNED)}


def differing(defaults: Any) -> dict[str, Default]:
    """The defaults of a configuration that differ from Dassl 0.6.3's; missing ones are left out."""
    found = flat(defaults)
    both = {key: Default(found[key], value) for key, value in pinned().items() if key in found}
    return {key: one for key, one in both.items() if as_text(one.found) != as_text(one.pinned)}


def pin(defaults: Any) -> None:
    """Give a configuration Dassl 0.6.3's defaults, in place."""
    for key, one in differing(defaults).items():
        node, name = level_of(defaults, key)
        node[name] = one.pinned
