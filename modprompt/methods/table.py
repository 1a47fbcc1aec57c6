"""The methods by name: where each is and what kind it is. Names alone, so that reports need no PyTorch."""

import importlib
from typing import TYPE_CHECKING, Dict, NamedTuple, Tuple, Type

from modprompt.checks import check_name

if TYPE_CHECKING:
    from modprompt.methods.base import Method

PROMPTS, ZERO_SHOT = "prompts", "zero-shot"  # learns prompts; trains nothing


class Row(NamedTuple):
    """A method: its name, which is its trainer's too, its module, its kind, and its folder in configs/trainers."""

    name: str
    module: str
    kind: str
    configs: str

    @property
    def method(self) -> "Type[Method]":
        """Its class; imports PyTorch."""
        found: Type[Method] = getattr(importlib.import_module(f"modprompt.methods.{self.module}"), self.name)
        return found


METHODS: Tuple[Row, ...] = (
    Row("MPL", "mpl", PROMPTS, "MPL"),
    Row("MaPLe", "maple", PROMPTS, "MaPLe"),
    Row("IVLP", "ivlp", PROMPTS, "IVLP"),
    Row("PromptSRC", "promptsrc", PROMPTS, "PromptSRC"),
    Row("VPT", "vpt", PROMPTS, "VPT"),
    Row("CoOp", "coop", PROMPTS, "CoOp"),
    Row("CoCoOp", "cocoop", PROMPTS, "CoCoOp"),
    Row("DPL", "dpl", PROMPTS, "DPL"),
    Row("DPLSearch", "dpl_search", PROMPTS, "DPLSearch"),
    Row("TrainerSubnet", "dpl", PROMPTS, "TrainerSubnet"),
    Row("TrainerSupernet", "dpl_search", PROMPTS, "TrainerSupernet"),
    Row("ZeroshotCLIP", "zeroshot", ZERO_SHOT, "CoOp"),  # whose images and backbones it takes
    Row("ZeroshotCLIP2", "zeroshot", ZERO_SHOT, "CoOp"),
)
BY_NAME: Dict[str, Row] = {row.name: row for row in METHODS}


def row_of(name: str, asked: str = "method") -> Row:
    """The row of a method.

    Args:
        name: of the method.
        asked: what the message calls it.

    Raises:
        SettingError: if there is none; the nearest is named.
    """
    check_name(name, list(BY_NAME), asked)
    return BY_NAME[name]


def configs_of(name: str) -> str:
    """The folder in configs/trainers with a trainer's files; of one that is not ours, its name."""
    return BY_NAME[name].configs if name in BY_NAME else name


def kind_of(name: str) -> str:
    """The kind of the method whose trainer has this name; empty for one that is not ours."""
    return BY_NAME[name].kind if name in BY_NAME else ""
