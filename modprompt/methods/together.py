"""Methods that change layers beside the prompts of others: TRAINER.<their node>.ON of the others' trainers."""

from typing import Any, List, Mapping, TypeVar

from modprompt.errors import SettingError
from modprompt.methods.base import Method
from modprompt.methods.table import row_of

M = TypeVar("M", bound=Method)
JOINING = {"MMADAPTER": "MultiModalAdapter", "CLIPLORA": "CLIPLoRA"}  # by node
TAKE = ("CoOp", "MPL")  # those whose prompts they stand beside


def asked(nodes: Mapping[str, Any]) -> List[str]:
    """The nodes under TRAINER, of those in JOINING, that are ON."""
    return [node for node in JOINING if nodes.get(node, {}).get("ON", False)]


def require_takes(name: str, node: str) -> None:
    """Raise SettingError unless a method or trainer takes what a node means."""
    if name == JOINING[node]:
        raise SettingError([("ON", f" means nothing for {name} itself: it is for {' and '.join(TAKE)}")])
    if name not in TAKE:
        raise SettingError([("ON", f" means nothing for {name}: it stands beside the prompts of {' and '.join(TAKE)}")])


def put_beside(method: M, changes: Method) -> M:
    """A method with what another one changes of layers beside its prompts, learned together.

    Raises:
        SettingError: on a method that takes none, and one in search of its schedule.
    """
    require_takes(type(method).__name__, changes.node.rpartition(".")[2])
    if method.slots is not None:
        raise SettingError([("ON", " means nothing for a search: give the schedule that it found")])
    return method.replace_private(joined_by=changes)


def joined(method: M, nodes: Mapping[str, Any]) -> M:
    """A method with what the nodes under TRAINER put beside its prompts; itself where none is ON.

    Raises:
        SettingError: if a setting of such a node does not fit, or does not go with the method; by its whole key.
    """
    for node in asked(nodes):
        other: Any = row_of(JOINING[node]).method
        try:
            require_takes(type(method).__name__, node)
            if method.joined_by is not None:
                raise SettingError([("ON", f": {type(method.joined_by).__name__} stands beside the prompts already")])
            method = other.of({**other.in_node(nodes[node]), "ON": False}).over(method)
        except SettingError as error:
            raise error.under(f"TRAINER.{node}") from None
    return method
