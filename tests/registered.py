"""Trainers that a test registers, taken out again."""

import sys

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from modprompt.methods import table
from modprompt.trainers import config


def forget(trainer: str, module: str) -> None:
    """Take a trainer, its config node and the module that registered it out; nothing where it is not there."""
    registered = next(one for one in vars(TRAINER_REGISTRY).values() if isinstance(one, dict))
    node = registered.pop(trainer).node_name if trainer in registered else ""
    for nodes_of in (config._NODES, config._FLOATS, cfg_default.TRAINER):
        nodes_of.pop(node, None)
    if table._OWN.pop(trainer, None):
        table.BY_NAME.pop(trainer)
    sys.modules.pop(module, None)
