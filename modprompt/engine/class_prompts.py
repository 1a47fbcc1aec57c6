"""The class prompts of a CLIP, as its text side takes them."""

from typing import Any, Sequence, Union

from modprompt.clip.sides import has_stock_text
from modprompt.clip.structure import CLIP
from modprompt.engine.prompts import PromptText
from modprompt.engine.text_ids import TextIds


def class_prompts(
    texts: Sequence[str], classnames: Sequence[str], n_ctx: int, clip_model: CLIP, *args: Any, **kwargs: Any
) -> Union[PromptText, TextIds]:
    """The frozen part of class prompts; arguments and errors are those of PromptText.

    A text tower takes no context: there nothing but the texts counts.
    """
    if has_stock_text(clip_model):
        return PromptText(texts, classnames, n_ctx, clip_model, *args, **kwargs)
    return TextIds(texts, classnames, clip_model)
