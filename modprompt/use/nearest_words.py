"""Learned text prompts as words: the nearest rows of a CLIP's token table, as in CoOp's paper (arXiv 2109.01134, 4.3).

Shapes: n tokens, C classes, T text width, W words of the vocabulary.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from modprompt.clip.tokenizers import Tokenizer
from modprompt.errors import UserError

_TEXT_PROMPT = re.compile(
    r"ctx$|compound_prompts_text\.(\d+)$|text_encoder\..*\.(\d+)\.VPT_shallow$|ctx_txt_lst\.(\d+)$"
    r"|cross_prompts_text\.(\d+)$"
)


class Word(NamedTuple):
    """A word (or "part-" of one) and its Euclidean distance from a learned vector."""

    text: str
    distance: float


def text_prompts(state_dict: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """The learned text vectors of a checkpoint by layer: (n, T), or (C, n, T) for contexts of single classes.

    Args:
        state_dict: a learner's tensors, without `prompt_learner.` in their names; see checkpoint.learner_part.

    Raises:
        UserError: if one of them is not a tensor of such a shape.
    """
    layers = {}
    for key, value in state_dict.items():
        found = _TEXT_PROMPT.match(key)
        if not found:
            continue
        if not isinstance(value, Tensor) or value.dim() not in (2, 3):
            raise UserError(f"{key} is not a learned prompt: expected a tensor of two or three dimensions")
        deep, *inside = found.groups()
        layers[int(deep) + 1 if deep else int(next(filter(None, inside), 0))] = value
    unmapped = count_mapped(state_dict) or len(layers)
    return {layer: layers[layer].float() for layer in sorted(layers)[:unmapped]}


def count_mapped(state_dict: Mapping[str, Tensor]) -> int:
    """The first layer whose text prompts are mapped from vision prompts, not learned themselves; 0 for none."""
    return sum(key.startswith("text_proxy_token.") for key in state_dict)


def count_vision_prompts(state_dict: Mapping[str, Tensor]) -> int:
    """Number of learned vision vectors: their space has no words."""
    own = (
        value
        for key, value in state_dict.items()
        if key.startswith(("image_encoder.", "ctx_img_lst.", "cross_prompts_visual."))
    )
    return sum(value.shape[0] for value in own if isinstance(value, Tensor) and value.dim() == 2)


def vocabulary(token_embedding: Tensor, tokenizer: Tokenizer) -> tuple[list[str], Tensor]:
    """The words and their embeddings (W, T), without rows of zeros, which a small model may have."""
    words = {i: tokenizer.word(i) for i in torch.nonzero(token_embedding.abs().sum(dim=1))[:, 0].tolist()}
    words = {i: word for i, word in words.items() if word}
    return [*words.values()], token_embedding[[*words]].float()


def nearest_words(vectors: Tensor, texts: list[str], embeddings: Tensor, count: int) -> list[list[Word]]:
    """The `count` nearest words to each of n vectors (n, T), nearest first.

    Raises:
        UserError: if the vectors have another width than the embeddings (W, T).
    """
    if vectors.shape[-1] != embeddings.shape[-1]:
        raise UserError(
            f"the checkpoint's text width is {vectors.shape[-1]}, that of this CLIP is {embeddings.shape[-1]}: "
            "name the CLIP it was trained with"
        )
    distances, ids = torch.cdist(vectors, embeddings).topk(min(count, len(texts)), dim=1, largest=False)
    return [[Word(texts[i], d) for i, d in zip(row_ids, row)] for row_ids, row in zip(ids.tolist(), distances.tolist())]
