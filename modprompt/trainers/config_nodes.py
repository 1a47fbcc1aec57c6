"""Config keys of a method, known once its trainer is registered, so that no codebase needs an edit.

Keys are only added where they are missing: a codebase may have made some of them itself.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from dassl.config import cfg_default
from yacs.config import CfgNode

from modprompt.clip.known import OPENAI_MEAN as CLIP_MEAN  # noqa: F401 - this module has always had them
from modprompt.clip.known import OPENAI_STD as CLIP_STD  # noqa: F401
from modprompt.compat.defaults import OURS
from modprompt.data.rounds import Active
from modprompt.fields import Configured, as_config
from modprompt.io.settings import level_of, names_base, read_settings
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


def is_switch(key: str) -> bool:
    """Whether a setting, by its dotted key, reads True and False as texts."""
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
    for merge in ("merge_from_file", "merge_from_list", "merge_from_other_cfg"):
        _prepare_before(merge)


def _register(cls: type[Configured], node: CfgNode) -> None:
    name = cls.node.rpartition(".")[2]
    _FLOATS[f"TRAINER.{name}"] = tuple(one.key for one in cls.settings() if isinstance(one.default, float))
    _SWITCHES[f"TRAINER.{name}"] = tuple(one.key for one in cls.settings() if one.switch)
    _NODES[name] = node


def _prepare_before(merge: str) -> None:
    """Before a merge, give a configuration the keys that it lacks, and types that yacs would not expect.

    Some codebases remove all other trainers' nodes from Dassl's defaults, or have defaults of their own. A file with a
    base, which yacs does not know, is merged whole.
    """
    plain = getattr(CfgNode, merge)
    if hasattr(plain, "prepares"):
        return

    @functools.wraps(plain)
    def prepared(self: CfgNode, *args: Any, **kwargs: Any) -> Any:
        given = next(iter((*args, *kwargs.values())), None)
        if isinstance(self.get("TRAINER"), CfgNode) and not self.is_frozen():
            add_defaults(self)
            for node, key, value in _given(_FLOATS, given):
                _make_room(self, f"{node}.{key}", _number_like(value))
            for node, key, value in _given(_SWITCHES, given):
                _make_room(self, f"{node}.{key}", False if str(value) in ("True", "False") else "")
        if merge == "merge_from_file" and names_base(given):
            return self.merge_from_list([word for pair in read_settings(str(given)).items() for word in pair])
        return plain(self, *args, **kwargs)

    vars(prepared)["prepares"] = True
    setattr(CfgNode, merge, prepared)


def _given(settings: Mapping[str, Sequence[str]], given: Any) -> Iterator[tuple[str, str, Any]]:
    """(node, key, value) of each of these settings, by node, that is among what is merged."""
    if isinstance(given, (list, tuple)):
        for name, value in zip(given[0::2], given[1::2]):
            node, _, key = str(name).rpartition(".")
            if key in settings.get(node, ()):
                yield node, key, value
    elif isinstance(given, CfgNode):
        for node, keys in settings.items():
            there, _ = level_of(given, f"{node}.")
            yield from ((node, key, there[key]) for key in keys if key in (there or ()))


def _number_like(value: Any) -> float | None:
    """A number of the type that yacs reads from this value; None if it is not a number."""
    try:
        float(value)
    except (TypeError, ValueError):
        return None
    whole = isinstance(value, int) or (isinstance(value, str) and value.strip().lstrip("+-").isdigit())
    return 0 if whole else 0.0


def _make_room(cfg: CfgNode, key: str, fitting: Any) -> None:
    """Let yacs, which expects the type of the present value, accept a value of this type for a setting."""
    node, name = level_of(cfg, key)
    if name in node and fitting is not None:
        node[name] = fitting  # the merge replaces it at once
