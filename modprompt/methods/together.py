"""Methods that are added to the prompts of others: TRAINER.<their node>.ON in the others' trainers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from modprompt.clip.towers import CLIP
from modprompt.errors import SettingError
from modprompt.methods.base import Method
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.capabilities import Training
from modprompt.methods.parts.learners import Classes, Learner
from modprompt.methods.parts.losses import Objective
from modprompt.methods.table import METHODS, PLUG_INS, always_beside

M = TypeVar("M", bound=Method)


@dataclass(frozen=True, repr=False)
class Addition(Method):
    """A method that is added to the prompts of others, too, or only to them."""

    def over(self, method: M) -> M:
        """A method with these additions to its prompts, trained together; what they name is read here.

        Raises:
            SettingError: on a method that accepts none, or one that searches for its schedule; without what is named.
        """
        require_takes(type(method).__name__, self.node_name())
        if method.search is not None:
            raise SettingError([("ON", " does not work for a search. Use the schedule that the search found.")])
        there = method.joined_by
        if there is not None and not isinstance(there, type(self)):
            raise SettingError(
                [("ON", f" does not work, because {type(there).__name__} is already added to the prompts.")]
            )
        return method.replace_private(joined_by=self.prepared())

    def join(self, learner: Learner, again: Callable[[], Learner], clip_model: CLIP, classes: Classes) -> Learner:
        """A method's learner with these additions, newly drawn; `again` draws another learner of that method.

        Raises:
            SettingError: if a setting does not fit that CLIP.
        """
        raise NotImplementedError

    def objective_beside(self, objective: Objective, model: PromptedModel) -> Objective:
        """What a model with these additions minimises, given the `objective` of its method."""
        return objective

    @property
    def training_beside(self) -> Training:
        """What the training of a method with these additions has."""
        return Training()

    def known_by(self) -> str:
        """The text by which a checkpoint tells these additions from others."""
        return repr(self.replace_private(unset=frozenset()))


# by node, what is added to others: first methods, then what is nothing else
JOINING = {row.node.rpartition(".")[2]: row for row in (*METHODS, *PLUG_INS) if row.joins}


def plug_ins() -> "list[type[Method]]":
    """Additions to other methods that are not trainers: their nodes are registered separately."""
    return [row.method for row in PLUG_INS]


def asked(nodes: Mapping[str, Any], name: str) -> list[str]:
    """The nodes under TRAINER, of those in JOINING, that are ON, or always so for a trainer."""
    always = always_beside(name)
    return [node for node in JOINING if node == always or nodes.get(node, {}).get("ON", False)]


def unread(nodes: Mapping[str, Any], name: str) -> list[str]:
    """Settings of a method's or trainer's additions that have no effect there, by dotted key."""
    return [f"TRAINER.{node}.{key}" for node in asked(nodes, name) for key in JOINING[node].alone]


def require_takes(name: str, node: str) -> None:
    """Raise SettingError unless a method or trainer accepts the addition of a node."""
    row = JOINING[node]
    others = f"{', '.join(row.joins[:-1])} and {row.joins[-1]}"
    if name == row.name:
        raise SettingError(
            [("ON", f" does not work for {name} itself. {name} can be added to the prompts of {others}.")]
        )
    if name not in row.joins and always_beside(name) != node:
        raise SettingError([("ON", f" does not work for {name}. {row.name} can be added to the prompts of {others}.")])


def joined(method: M, nodes: Mapping[str, Any]) -> M:
    """A method with the additions that the nodes under TRAINER ask for; itself if none is ON.

    Raises:
        SettingError: if a setting of such a node does not fit, or does not go with the method; keys are named in full.
    """
    for node in asked(nodes, type(method).__name__):
        other: Any = JOINING[node].method
        try:
            method = other.of({**other.in_node(nodes[node]), "ON": False}).over(method)
        except SettingError as error:
            raise error.under(f"TRAINER.{node}") from None
    return method
