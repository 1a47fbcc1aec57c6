"""The class prompts of a CLIP, in the form that its text side needs."""

from collections.abc import Sequence
from typing import Any

from modprompt.clip.towers import CLIP, has_stock_text, prompted_text
from modprompt.engine.prompts import PromptText
from modprompt.engine.text_ids import TextIds
from modprompt.engine.whole_text import WholeText

ClassPrompts = PromptText | WholeText | TextIds


def class_prompts(
    texts: Sequence[str], classnames: Sequence[str], n_ctx: int, clip_model: CLIP, *args: Any, **kwargs: Any
) -> ClassPrompts:
    """The frozen part of class prompts; arguments and errors are those of PromptText.

    For a text tower that accepts no prompts only the texts count.
    """
    side = prompted_text(clip_model)
    if side is None:
        return TextIds(texts, classnames, clip_model)
    kind = PromptText if has_stock_text(clip_model) or side.attn_mask is not None else WholeText
    return kind(texts, classnames, n_ctx, clip_model, *args, **kwargs)
