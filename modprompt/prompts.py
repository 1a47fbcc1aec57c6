"""Class prompts as text: `X X a photo of a golden retriever.`, tokenized and embedded.

Shapes: C classes, L = 77 tokens, D text width.
"""

from typing import List, NamedTuple, Sequence

import torch
from torch import Tensor, nn

from modprompt.clip_package import import_clip
from modprompt.errors import UserError


class ClassPrompts(NamedTuple):
    """The prompts of all classes: their texts, frozen embeddings (C, L, D), and end-of-text positions (C,)."""

    texts: List[str]
    embedding: Tensor
    end: Tensor


def tokenize(texts: Sequence[str], labels: Sequence[str], context_length: int = 77) -> Tensor:
    """Token ids (C, context_length) of prompts.

    Raises:
        UserError: if a prompt is longer than the context; the label that goes with it is named.
    """
    clip = import_clip()
    rows = []
    for text, label in zip(texts, labels):
        try:
            rows.append(clip.tokenize(text, context_length=context_length))
        except RuntimeError:
            raise UserError(
                f"the prompt of class {label!r} is longer than the model's {context_length} text tokens: {text!r}; "
                "shorten CTX_INIT or the class name, or lower N_CTX"
            ) from None
    return torch.cat(rows).long()


def class_prompts(classnames: Sequence[str], prefix: str, clip_model: nn.Module) -> ClassPrompts:
    """Prompts `prefix name.` of all classes, embedded by the frozen token table ("_" in names reads as a space)."""
    names = [name.replace("_", " ") for name in classnames]
    texts = [f"{prefix} {name}." for name in names]
    tokens = tokenize(texts, names, clip_model.positional_embedding.shape[0])
    tokens = tokens.to(clip_model.token_embedding.weight.device)
    with torch.no_grad():
        embedding = clip_model.token_embedding(tokens).type(clip_model.dtype)
    return ClassPrompts(texts, embedding, tokens.argmax(dim=-1))
