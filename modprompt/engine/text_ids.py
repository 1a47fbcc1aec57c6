"""Class prompts of a text tower: whole rows of token ids, without a place for learned tokens.

Shapes: C classes, L ids of a text.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modprompt.clip.towers import CLIP, tokenizer_of
from modprompt.engine.prompts import rows_of
from modprompt.engine.text_layout import Group


class TextIds(nn.Module):
    """The prompts of C classes, for a text tower what PromptText (prompts.py) is for a stock text side.

    Args:
        texts: the prompts.
        classnames: the names of the classes.
        clip_model: a CLIP with a text tower.

    Raises:
        UserError: if a prompt is longer than the tower's texts.
    """

    ids: Tensor

    def __init__(self, texts: Sequence[str], classnames: Sequence[str], clip_model: CLIP):
        super().__init__()
        self.texts = list(texts)
        ids = rows_of(self.texts, classnames, tokenizer_of(clip_model))
        self.register_buffer("ids", torch.tensor(ids, dtype=torch.long), persistent=False)

    @property
    def groups(self) -> list[Group]:
        """A single group with all classes."""
        count, length = self.ids.shape
        return [Group(tuple(range(count)), (length,) * count, length)]

    def forward(self, ctx: Tensor) -> Tensor:
        """The ids (C, L); `ctx` has no tokens."""
        return self.ids
