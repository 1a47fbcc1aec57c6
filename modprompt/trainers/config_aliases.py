"""Config nodes of a method's repository, translated into this project's settings.

A second node of the method's own stands for several settings; in a node that the repository shares with other methods,
each setting becomes one of the method's own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from yacs.config import CfgNode

from modprompt.errors import SettingError, UserError
from modprompt.io.settings import Given, Settings, as_text
from modprompt.methods.base import Method
from modprompt.methods.parts.capabilities import Only, SecondNode
from modprompt.trainers.config_nodes import method_of

UNREAD = {"TRAINER.COOP.TRAIN_TYPE"}  # in the family's files; nothing reads it in any repository
_ALPHAS = "give schedule.json, which has the alphas of every epoch"
GONE = {  # keys of earlier versions: what to do instead
    "TRAINER.PROMPTKD.ON": "train PromptKD by itself, or CoOp, MaPLe and others with TRAINER.KDPL.ON True",
    "TRAINER.DPLSEARCH.WRITE_NPY": _ALPHAS,
    "TRAINER.TRAINERSUPERNET.WRITE_NPY": _ALPHAS,
    "TRAINER.ADAPTER.AS_PUBLISHED": "leave it out: TipA compares features of length 1",
    "TEST.FEATURE_CACHE": "a test keeps its features by TEST.KEEP_FEATURES True, for tests of the same prompts by "
    "TEST.FEATURES_OF",
}


def stands_for(cfg: CfgNode, given: Mapping[str, Given], cls: type[SecondNode]) -> dict[str, Any]:
    """The settings that a second node stands for, with their values, by dotted key; a message names them.

    Args:
        cfg: the configuration of a run, merged.
        given: what files, flags and options give, by dotted key: these settings stay.
        cls: the class of the node.

    Raises:
        SettingError: if a setting of the node does not fit.
    """
    try:
        texts = {key: as_text(one.value) for key, one in given.items()}
        found = method_of(cls, cfg.TRAINER[cls.node.rpartition(".")[2]]).means(texts)
    except SettingError as error:
        raise error.under(cls.node) from None
    taken = {key: value for key, value in found.items() if key not in given}
    kept = [key for key in found if key not in taken]
    said = ", ".join(f"{key} {value}" for key, value in taken.items()) or "nothing"
    print(f"{cfg.TRAINER.NAME}: {cls.node} stands for {said}" + (f"; given itself: {', '.join(kept)}" if kept else ""))
    return taken


def _layer(given: Given) -> str:
    """The file that gives it, or that it is a flag, or an option."""
    return given.source if given.source.startswith("file ") else given.source.partition(" ")[0]


def _is_given_after(own: Given | None, given: Given, layers: Sequence[str]) -> bool:
    return own is not None and layers.index(_layer(own)) >= layers.index(_layer(given))


def own_names(settings: Settings, name: str, cls: type[Method]) -> Settings:
    """Settings with those of shared nodes under the method's own names; a message names them.

    The later of files, flags and options wins; if one of them gives both, the method's own name wins.

    Args:
        settings: what files, flags and options give.
        name: of the trainer.
        cls: its method.

    Raises:
        UserError: on a value that its repository knows and this method does not.
    """
    found: list[tuple[str, Given]] = []
    read, unread, kept = [], [], []
    layers = list(dict.fromkeys(_layer(given) for _, given in settings.given))
    for key, given in settings.given:
        own = cls.repository.shared.get(key)
        if own is None:
            found.append((key, given))
        elif isinstance(own, Only):
            if as_text(given.value) != own.value:
                raise UserError(f"{given.where}: {key} must be {own.value} for {name}, got {given.value!r}")
        elif not own:
            unread.append(key)
        else:
            named = own if own.startswith("TRAINER.") else f"{cls.node}.{own}"
            if _is_given_after(settings.get(named), given, layers):
                kept.append(named)
            else:
                found.append((named, given))
                read.append(f"{key} is {named} {as_text(given.value)}")
    if read or unread or kept:
        parts = {"": read, "given itself: ": kept, "read by nothing, here as in the repository: ": unread}
        print(f"{name}: {'; '.join(what + ', '.join(dict.fromkeys(keys)) for what, keys in parts.items() if keys)}")
    return Settings(tuple(found))
