"""Heads on features, as other packages see them."""

from collections.abc import Mapping, Sequence
from typing import Any

from modprompt.feature import Feature, FirstStage
from modprompt.methods.named_files import FRONT
from modprompt.methods.table import BY_NAME, HEADS, kind_of

PROMPTS_FROM = "PROMPTS_FROM"  # the setting of all heads that names trained prompts


class HeadsFeature(Feature):
    """Methods that put a head on frozen features; their trainers have parts of their own."""

    name = "heads"
    kind = HEADS
    stage = FirstStage(
        key="prompts_from",
        names_method=True,
        setting=PROMPTS_FROM,
        name="the training of its prompts",
        without="heads on trained prompts",
        group="prompts + head",
        parameters="of a head, with those of the prompts that it is put on",
        seconds="the training of the prompts that a head is put on",
    )
    stands_on = FRONT
    chosen = ("searched",)
    learned = "A head on the features of"
    of_others = (
        "What a head has learned of single classes says nothing of others: for these it uses the features before it."
    )

    def parts(self) -> Any:
        """The bank, the head, its epochs, its choice, a test."""
        from modprompt.methods.heads.run import HEAD_PARTS

        return HEAD_PARTS

    def fault_of_stage(self, trainer: str, keys: Sequence[str], settings: Mapping[str, str]) -> str:
        """Only a head is put on trained prompts."""
        return "" if kind_of(trainer) == HEADS else f"{trainer} is not a head, and only heads are put on prompts"

    def handed_on(self, folder: Any, trainer: str, settings: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The prompts."""
        return ((f"{BY_NAME[trainer].node}.{PROMPTS_FROM}", str(folder)),)

    def card(self, method: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Whose prompts it is put on."""
        front = method.get(FRONT)
        return [("on the prompts of", front["name"])] if isinstance(front, Mapping) else []


FEATURE = HeadsFeature()
