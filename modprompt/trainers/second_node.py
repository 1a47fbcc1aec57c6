"""A second node of a method's settings, as its repository has it, read as the settings that it stands for."""

from typing import Any, Mapping, Type

from yacs.config import CfgNode

from modprompt.errors import SettingError
from modprompt.methods.base import SecondNode
from modprompt.trainers.nodes import method_of

UNREAD = {"TRAINER.COOP.TRAIN_TYPE"}  # in the family's files; nothing reads it in any repository


def stand_in(cfg: CfgNode, given: Mapping[str, Any], cls: Type[SecondNode]) -> None:
    """Give, in place, the settings that a second node stands for their values; a line says which.

    Args:
        cfg: the configuration of a run, merged.
        given: dotted keys that files, flags and options give: these stay as they are.
        cls: what the node is.

    Raises:
        SettingError: if a setting of the node does not fit.
    """
    try:
        found = method_of(cls, cfg.TRAINER[cls.node.rpartition(".")[2]]).means()
    except SettingError as error:
        raise error.under(cls.node) from None
    taken = {key: value for key, value in found.items() if key not in given}
    for key, value in taken.items():
        *path, leaf = key.split(".")
        node = cfg
        for part in path:
            node = node[part]
        node[leaf] = value
    kept = [key for key in found if key not in taken]
    texts = ", ".join(f"{key} {value}" for key, value in taken.items())
    print(f"{cfg.TRAINER.NAME}: {cls.node} stands for {texts}" + (f"; given itself: {', '.join(kept)}" if kept else ""))
