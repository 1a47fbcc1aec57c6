"""Methods that stand beside the prompts of others: TRAINER.<their node>.ON of the others' trainers."""

from typing import Any, Dict, List, Mapping, NamedTuple, Tuple, Type, TypeVar

from modprompt.errors import SettingError
from modprompt.methods.base import Method
from modprompt.methods.table import PLUG_INS, always_beside, beside_of

M = TypeVar("M", bound=Method)


class Joining(NamedTuple):
    """A method that stands beside others.

    name: its own.
    beside: those whose prompts it stands beside.
    names: of these with it beside them, as its repository calls them.
    """

    name: str
    beside: Tuple[str, ...]
    names: Tuple[str, ...] = ()

    @property
    def others(self) -> str:
        """Those, in words."""
        return f"{', '.join(self.beside[:-1])} and {self.beside[-1]}"


JOINING: Dict[str, Joining] = {  # by node
    "MMADAPTER": Joining("MultiModalAdapter", ("CoOp", "MPL")),
    "CLIPLORA": Joining("CLIPLoRA", ("CoOp", "MPL")),
    "PROMPTKD": Joining("PromptKD", ("CoOp", "MaPLe", "MPL")),
    "KDPL": Joining("KDPL", ("CoOp", "CoCoOp", "VPT", "MaPLe", "PromptSRC", "MPL")),
    "DEPT": Joining(
        "DePT",
        ("CoOp", "CoCoOp", "KgCoOp", "MaPLe", "MPL", "PromptSRC"),
        tuple(f"ExtrasLinearProbe{name}" for name in ("CoOp", "CoCoOp", "KgCoOp", "MaPLe")),
    ),
}


def plug_ins() -> "List[Type[Method]]":
    """What stands beside others' prompts and is no trainer: its node is registered for itself."""
    return [row.method for row in PLUG_INS]


def asked(nodes: Mapping[str, Any], name: str) -> List[str]:
    """The nodes under TRAINER, of those in JOINING, that are ON, or always so for a trainer."""
    always = always_beside(name)
    return [node for node in JOINING if node == always or nodes.get(node, {}).get("ON", False)]


def unread(nodes: Mapping[str, Any], name: str) -> List[str]:
    """Settings of what stands beside a method's or trainer's prompts that mean nothing there, by dotted key."""
    found = {node: beside_of(JOINING[node].name).method for node in asked(nodes, name)}
    return [f"TRAINER.{node}.{key}" for node, method in found.items() for key in method.only_alone]


def require_takes(name: str, node: str) -> None:
    """Raise SettingError unless a method or trainer takes what a node means."""
    joining = JOINING[node]
    if name == joining.name:
        raise SettingError([("ON", f" means nothing for {name} itself: it is for {joining.others}")])
    if name not in (*joining.beside, *joining.names):
        text = f" means nothing for {name}: it stands beside the prompts of {joining.others}"
        raise SettingError([("ON", text)])


def put_beside(method: M, beside: Method) -> M:
    """A method with another one beside its prompts, learned together.

    Raises:
        SettingError: on a method that takes none, and one in search of its schedule.
    """
    require_takes(type(method).__name__, beside.node.rpartition(".")[2])
    if method.slots is not None:
        raise SettingError([("ON", " means nothing for a search: give the schedule that it found")])
    _require_alone(method, type(beside))
    return method.replace_private(joined_by=beside)


def _require_alone(method: Method, beside: "Type[Method]") -> None:
    there = method.joined_by
    if there is not None and not isinstance(there, beside):
        raise SettingError([("ON", f": {type(there).__name__} stands beside the prompts already")])


def joined(method: M, nodes: Mapping[str, Any]) -> M:
    """A method with what the nodes under TRAINER put beside its prompts; itself where none is ON.

    Raises:
        SettingError: if a setting of such a node does not fit, or does not go with the method; by its whole key.
    """
    for node in asked(nodes, type(method).__name__):
        other: Any = beside_of(JOINING[node].name).method
        try:
            require_takes(type(method).__name__, node)
            _require_alone(method, other)
            method = other.of({**other.in_node(nodes[node]), "ON": False}).over(method)
        except SettingError as error:
            raise error.under(f"TRAINER.{node}") from None
    return method
