"""Class prompts: as text (`X X a photo of a golden retriever.`), as tokens, as embeddings with a place for the context.

Shapes: C classes, L = 77 tokens, T text width, n context tokens.
"""

from typing import List, NamedTuple, Optional, Sequence

import torch
from torch import Tensor, nn

from modprompt.checks import one_of
from modprompt.clip_package import import_clip
from modprompt.errors import UserError

POSITIONS = ("end", "middle", "front")  # of the class name
Additions = List[Optional[Tensor]]  # per layer: new prompt tokens (n, width of the side), or None


class Prompts(NamedTuple):
    """What the encoders read: class prompts (C, L, T) with their ends (C,), and per layer the tokens to add.

    A learner that makes prompts for each of B images has text (B, C, L, T).
    """

    text: Tensor
    end: Tensor
    text_additions: Additions
    vision_additions: Additions


class ClassPrompts(NamedTuple):
    """The prompts of all classes: their texts, frozen embeddings (C, L, T), and end-of-text positions (C,)."""

    texts: List[str]
    embedding: Tensor
    end: Tensor


def readable(text: str) -> str:
    """A class name or CTX_INIT as words: "_" reads as a space."""
    return text.replace("_", " ").strip()


def token_ids(text: str) -> List[int]:
    """Tokens of a text, without the start and end tokens."""
    return import_clip()._tokenizer.encode(text)


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


def embed(texts: Sequence[str], labels: Sequence[str], clip_model: nn.Module) -> ClassPrompts:
    """Prompts embedded by the frozen token table, in the model's type.

    Raises:
        UserError: as tokenize.
    """
    tokens = tokenize(texts, labels, clip_model.positional_embedding.shape[0])
    tokens = tokens.to(clip_model.token_embedding.weight.device)
    with torch.no_grad():
        embedding = clip_model.token_embedding(tokens).type(clip_model.dtype)
    return ClassPrompts(list(texts), embedding, tokens.argmax(dim=-1))


def class_prompts(classnames: Sequence[str], prefix: str, clip_model: nn.Module) -> ClassPrompts:
    """Prompts `prefix name.` of all classes."""
    names = [readable(name) for name in classnames]
    return embed([f"{prefix} {name}.".strip() for name in names], names, clip_model)


class PromptText(nn.Module):
    """The frozen part of class prompts, into which a context of n tokens is put; no parameters.

    Args:
        classnames: names of the C classes.
        prefix: words in front of the name; their first n tokens give way to the context.
        n_ctx: number of context tokens n; 0 keeps every word.
        clip_model: a stock CLIP.
        position: where the class name stands: "end" (behind the context), "middle" (behind its first half) or "front".

    Raises:
        UserError: on another position, or a prompt longer than the text context.
    """

    def __init__(
        self, classnames: Sequence[str], prefix: str, n_ctx: int, clip_model: nn.Module, position: str = "end"
    ):
        super().__init__()
        one_of("CLASS_TOKEN_POSITION", position, POSITIONS)
        prompts = class_prompts(classnames, prefix, clip_model)
        self.texts = prompts.texts
        self.register_buffer("token_prefix", prompts.embedding[:, :1], persistent=False)
        self.register_buffer("token_suffix", prompts.embedding[:, 1 + n_ctx :], persistent=False)
        self.register_buffer("end", prompts.end, persistent=False)
        ahead = {"end": n_ctx, "middle": n_ctx // 2, "front": 0}[position]  # context tokens in front of the name
        order = None
        if ahead < n_ctx:
            lengths = [len(token_ids(readable(name))) for name in classnames]
            order = torch.stack([_order(prompts.embedding.shape[1], n_ctx, ahead, length) for length in lengths])
        self.register_buffer("order", order, persistent=False)

    def forward(self, ctx: Tensor) -> Tensor:
        """Embedded prompts (..., C, L, T) with the context (n, T), (C, n, T) or (..., 1, n, T) in its place."""
        n_cls = self.token_prefix.shape[0]
        ctx = ctx.expand(*ctx.shape[:-3], n_cls, -1, -1)
        batch = ctx.shape[:-3]
        prefix, suffix = (x.expand(*batch, -1, -1, -1) for x in (self.token_prefix, self.token_suffix))
        text = torch.cat([prefix, ctx, suffix], dim=-2)
        if self.order is None:
            return text
        return text.gather(-2, self.order[..., None].expand_as(text))


def _order(length: int, n_ctx: int, ahead: int, name: int) -> Tensor:
    """Where each of `length` tokens comes from when `name` tokens of a class name move before n_ctx - ahead of ctx."""
    order = torch.arange(length)
    order[1 + ahead : 1 + ahead + name] = torch.arange(1 + n_ctx, 1 + n_ctx + name)
    order[1 + ahead + name : 1 + n_ctx + name] = torch.arange(1 + ahead, 1 + n_ctx)
    return order
