"""Which sides a method puts prompts into, and a clear error, before anything is made, if a CLIP lacks them."""

from typing import Any

from modprompt.clip.known import PROMPTED, RESNET, Kinds
from modprompt.errors import UserError

_HEADS = "zero-shot and heads (TipAdapter, ...)"
_OF_SIDE = {"text": "methods of the text side (CoOp, ...)", "image": "methods of the image side (VPT)"}


def what_runs(kinds: Kinds) -> str:
    """In words, what runs on a CLIP that lacks a side."""
    there = [words for side, words in _OF_SIDE.items() if getattr(kinds, side) == PROMPTED]
    return ", ".join([*there, _HEADS])


def require_sides(method: Any, kinds: Kinds, name: str) -> None:
    """Check whether a method's prompts can go into a CLIP.

    Args:
        method: the method.
        kinds: of the CLIP's sides.
        name: the CLIP's, for messages.

    Raises:
        UserError: if a side that it puts prompts into has no layers for them.
    """
    mine = " beside ".join(type(one).__name__ for one in (method.joined_by, method) if one is not None)
    wanted = {"text": method.wants_text, "image": method.wants_vision}
    lacking = [side for side, wants in wanted.items() if wants and getattr(kinds, side) != PROMPTED]
    if not lacking:
        return
    if kinds == Kinds(PROMPTED, RESNET):
        raise UserError(
            f"{mine} puts prompts into a vision transformer, but {name} is a ResNet: "
            "choose ViT-B/16, ViT-B/32 or ViT-L/14; CoOp, CoCoOp and zero-shot run on a ResNet"
        )
    sides = " and ".join(lacking)
    raise UserError(
        f"{name}: {mine} puts prompts into its {sides} side, where none can go: {what_runs(kinds)} run on it"
    )
