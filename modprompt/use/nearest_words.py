"""Learned text prompts as words: the nearest rows of a CLIP's token table, as in CoOp's paper (arXiv 2109.01134, 4.3).

Shapes: n tokens, C classes, T text width, W words of the vocabulary.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from modprompt.clip.towers import CLIP, token_table, tokenizer_of
from modprompt.errors import UserError

_TEXT_PROMPT = re.compile(
    r"ctx$|compound_prompts_text\.(\d+)$|text_encoder\..*\.(\d+)\.VPT_shallow$|ctx_txt_lst\.(\d+)$"
    r"|cross_prompts_text\.(\d+)$"
)
_VISION_PROMPTS = ("image_encoder.", "ctx_img_lst.", "cross_prompts_visual.")


def text_prompts(state_dict: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """The learned text vectors among a learner's tensors (records.learner_part), by layer.

    They are (n, T), or (C, n, T) for contexts of single classes; UserError if one is not a tensor of such a shape.
    """
    layers = {}
    for key, value in state_dict.items():
        match = _TEXT_PROMPT.match(key)
        if not match:
            continue
        if not isinstance(value, Tensor) or value.dim() not in (2, 3):
            raise UserError(
                f"The checkpoint entry {key} is not a learned prompt: a tensor with two or three dimensions "
                "is expected. Choose another checkpoint."
            )
        deep, *inside = match.groups()
        layers[int(deep) + 1 if deep else int(next(filter(None, inside), 0))] = value
    unmapped = count_mapped(state_dict) or len(layers)
    return {layer: layers[layer].float() for layer in sorted(layers)[:unmapped]}


def count_mapped(state_dict: Mapping[str, Tensor]) -> int:
    """The first layer whose text prompts are mapped from vision prompts, not learned themselves; 0 for none."""
    return sum(key.startswith("text_proxy_token.") for key in state_dict)


def count_vision_prompts(state_dict: Mapping[str, Tensor]) -> int:
    """Number of learned vision vectors: their space has no words."""
    vision = [value for key, value in state_dict.items() if key.startswith(_VISION_PROMPTS)]
    return sum(len(value) for value in vision if isinstance(value, Tensor) and value.dim() == 2)


def vocabulary(clip_model: CLIP) -> tuple[list[str], Tensor]:
    """A CLIP's words (or "part-" of one), and their embeddings (W, T), without rows of zeros of a small model."""
    table, tokenizer = token_table(clip_model).weight.detach(), tokenizer_of(clip_model)
    words = {i: tokenizer.word(i) for i in torch.nonzero(table.abs().sum(dim=1))[:, 0].tolist()}
    words = {i: word for i, word in words.items() if word}
    return [*words.values()], table[[*words]].float()


def nearest_words(vectors: Tensor, words: list[str], embeddings: Tensor, count: int) -> list[list[tuple[str, float]]]:
    """The `count` nearest words to each of n vectors (n, T), with their Euclidean distances.

    Raises UserError if the vectors have another width than the embeddings (W, T).
    """
    if vectors.shape[-1] != embeddings.shape[-1]:
        raise UserError(
            f"The text prompts in the checkpoint have width {vectors.shape[-1]}, but the token embeddings of this CLIP "
            f"have width {embeddings.shape[-1]}. Use the CLIP with which the checkpoint was trained."
        )
    distances, ids = torch.cdist(vectors, embeddings).topk(min(count, len(words)), largest=False)
    return [[(words[i], d) for i, d in zip(*row)] for row in zip(ids.tolist(), distances.tolist())]
