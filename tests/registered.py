"""Trainers that a test registers, taken out again."""

import sys

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from modprompt.trainers import nodes


def forget(trainer: str, module: str) -> None:
    """Take a trainer, its config node and the module that registered it out; nothing where it is not there."""
    registered = next(table for table in vars(TRAINER_REGISTRY).values() if isinstance(table, dict))
    node = registered.pop(trainer).node_name if trainer in registered else ""
    for table in (nodes._NODES, nodes._FLOATS, cfg_default.TRAINER):
        table.pop(node, None)
    sys.modules.pop(module, None)
