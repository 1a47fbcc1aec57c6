"""Config keys of a method, known once its trainer is registered, so that no codebase needs an edit.

Keys are only added where they are missing: a codebase may have made some of them itself.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from dassl.config import cfg_default
from yacs.config import CfgNode

from modprompt.clip.known import OPENAI_MEAN as CLIP_MEAN  # noqa: F401 - this module has always had them
from modprompt.clip.known import OPENAI_STD as CLIP_STD  # noqa: F401
from modprompt.compat.defaults import OURS
from modprompt.data.rounds import Active
from modprompt.fields import Configured, as_config
from modprompt.methods.base import Method
from modprompt.methods.search import over as search
from modprompt.methods.search.over import Search

C = TypeVar("C", bound=Configured)


def add_missing(node: CfgNode, defaults: CfgNode) -> None:
    """Add to `node`, in place, the keys of `defaults` that it lacks, level by level."""
    frozen = node.is_frozen()
    node.defrost()
    for key, value in defaults.items():
        if key not in node:
            node[key] = value.clone() if isinstance(value, CfgNode) else value
        elif isinstance(value, CfgNode):
            add_missing(node[key], value)
    if frozen:
        node.freeze()


def add_family_defaults(cfg: CfgNode) -> None:
    """Add the keys besides Dassl's own: the family's, ours, those of rounds and of searches."""
    defaults = OURS.clone()
    for node, own, decided in (("ACTIVE", Active, {}), ("SEARCH", Search, {search.RUNS: False})):
        given = {one.key: as_config(one.default) for one in own.settings()}
        defaults[node] = CfgNode({**given, **decided})
    add_missing(cfg, defaults)


def node_of(cls: type[Configured]) -> CfgNode:
    """The config node of a method: its settings' defaults by key, and PREC, the precision of a run.

    Additions beside the prompts of other methods have no PREC: they compute as those do.
    """
    node = CfgNode({one.key: as_config(one.default) for one in cls.settings()})
    prec = getattr(cls, "prec", "fp16")
    if prec:
        node.PREC = prec  # fp16, fp32, amp or bf16
    return node


def method_of(cls: type[C], node: Mapping[str, Any]) -> C:
    """A method with the settings of its node; what a codebase's own node lacks has its default.

    Raises:
        SettingError: on a value that does not fit.
    """
    return cls.of(cls.in_node(node))


_NODES: dict[str, CfgNode] = {}  # the methods' nodes under TRAINER, as registered
# by node: settings that may be any number, though their default or the given value looks whole
_FLOATS: dict[str, tuple[str, ...]] = {}
_SWITCHES: dict[str, tuple[str, ...]] = {}  # by node: text settings that True or False may stand for


def is_number(key: str) -> bool:
    """Return True if a setting, by its dotted key, accepts whole and other numbers."""
    node, _, name = key.rpartition(".")
    return name in _FLOATS.get(node, ())


def is_switch(key: str) -> bool:
    """Return True if a setting, by its dotted key, is a text or True or False."""
    node, _, name = key.rpartition(".")
    return name in _SWITCHES.get(node, ())


def add_defaults(cfg: CfgNode) -> None:
    """Add to a configuration, in place, the family's keys and the nodes of all registered trainers, where missing."""
    add_family_defaults(cfg)
    defaults = CfgNode()
    for name, node in _NODES.items():
        defaults[name] = node
    add_missing(cfg.TRAINER, defaults)


def register_method(cls: type[Configured]) -> None:
    """Add a method's nodes, and the family's defaults, to the node that every later `get_cfg_default()` copies."""
    second = cls.repository.second_node if issubclass(cls, Method) else None
    if second is not None:
        _register(second, CfgNode({one.key: as_config(one.default) for one in second.settings()}))
    if cls.node:
        _register(cls, node_of(cls))
    add_defaults(cfg_default)


def _register(cls: type[Configured], node: CfgNode) -> None:
    name = cls.node.rpartition(".")[2]
    _FLOATS[f"TRAINER.{name}"] = tuple(one.key for one in cls.settings() if isinstance(one.default, float))
    _SWITCHES[f"TRAINER.{name}"] = tuple(one.key for one in cls.settings() if one.switch)
    _NODES[name] = node
