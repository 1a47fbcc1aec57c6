"""Class prompts: as text (`X X a photo of a golden retriever.`), as tokens, as embeddings with a place for the context.

Shapes: B images, C classes, L tokens, T text width, n context tokens.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.checks import one_of
from modprompt.clip.tokenizers import ClipTokenizer, Tokenizer, TooLong
from modprompt.clip.tokens import readable
from modprompt.clip.towers import CLIP, token_table, tokenizer_of
from modprompt.engine.additions import Addition
from modprompt.engine.context import PLACEHOLDER, leading_placeholders
from modprompt.engine.layer_change import Changes
from modprompt.engine.read_out import ReadOut
from modprompt.engine.text_layout import (
    Group,
    Layout,
    Suffix,
    TextTokens,
    WholeTokens,
    count_shared,
    lay_out,
    order_of,
    some,
)
from modprompt.errors import UserError

POSITIONS = ("end", "middle", "front")  # of the class name
WHICH = ", which is/has "  # between a class's name and a phrase that describes it (PCB, arXiv 2311.11178)
ClassTokens = TextTokens | WholeTokens | Tensor  # ids (C, L) of a text tower that accepts no prompts
_CLIPS = ClipTokenizer()
Additions = list[Addition]  # of each layer; tokens are (n, width of the side)


class Prompts(NamedTuple):
    """What the encoders read: class prompts, and per layer the tokens to add on each side and what else it computes.

    An ensemble's text is a list, with the prompts of one template each. `one_each` says that the text has one prompt of
    each class, though the learner has several (pooling.py). `read` computes a second feature of each image from the
    vision side's prompt tokens.
    """

    text: ClassTokens | list[ClassTokens]
    text_additions: Additions
    vision_additions: Additions
    text_changes: Changes = ()
    vision_changes: Changes = ()
    read: ReadOut | None = None
    one_each: bool = False


def tokenize(texts: Sequence[str], labels: Sequence[str], tokenizer: Tokenizer = _CLIPS, cut: bool = False) -> Tensor:
    """Token ids (C, L) of prompts, padded to the tokenizer's length; longer ones are `cut`, the end token at the end.

    Raises:
        UserError: if a prompt is longer and not cut; the message names its label.
    """
    return torch.tensor(rows_of(texts, labels, tokenizer, cut), dtype=torch.long)


def rows_of(texts: Sequence[str], labels: Sequence[str], tokenizer: Tokenizer, cut: bool = False) -> list[list[int]]:
    """The token ids of prompts, each padded to the tokenizer's length.

    Raises:
        UserError: as tokenize.
    """
    return [_row(text, readable(label), tokenizer, cut) for text, label in zip(texts, labels)]


def fits(text: str, tokenizer: Tokenizer) -> bool:
    """Whether a text is as short as the model's texts."""
    try:
        return bool(tokenizer.row(text))
    except TooLong:
        return False


def _row(text: str, label: str, tokenizer: Tokenizer, cut: bool) -> list[int]:
    try:
        return tokenizer.row(text)
    except TooLong:
        if cut:
            return _cut_row(text, tokenizer)
        name, _, phrase = label.partition(WHICH)
        whose, more = (f" with the phrase {phrase[:120]!r}", ", or shorten the phrase") if phrase else ("", "")
        raise UserError(
            f"The prompt of class {name[:120]!r}{whose} is longer than the maximum of "
            f"{tokenizer.facts.length} text tokens: {text[:120]!r}. Shorten CTX_INIT or the class name, "
            f"or reduce N_CTX{more}."
        ) from None


def _cut_row(text: str, tokenizer: Tokenizer) -> list[int]:
    """As many ids of a text as fit, the end token the last."""
    nothing, facts = tokenizer.row(""), tokenizer.facts
    start = nothing[: nothing.index(facts.end)]
    return [*start, *tokenizer.words(text)[: facts.length - len(start) - 1], facts.end]


def embed_ids(ids: Tensor, clip_model: CLIP, dtype: torch.dtype | None = None) -> Tensor:
    """Embeddings of token ids by the frozen table, in `dtype`, or else in the model's type."""
    table = token_table(clip_model)
    with torch.no_grad():
        embedded: Tensor = table(ids.to(table.weight.device))
        return embedded.type(dtype or clip_model.dtype)


def class_texts(classnames: Sequence[str], prefix: str, ending: str = ".") -> list[str]:
    """Prompts `prefix name.` of all classes, or with another ending after the name than the full stop."""
    return [f"{prefix} {readable(name)}{ending}".strip() for name in classnames]


def template_texts(classnames: Sequence[str], template: str) -> list[str]:
    """Prompts of all classes, their names put into a template like "a photo of a {}."."""
    return [template.replace("{}", readable(name)) for name in classnames]


class PromptText(nn.Module):
    """The frozen part of class prompts, into which a context of n tokens is put; no parameters.

    Args:
        texts: the prompts of C classes; the context replaces their first n tokens.
        classnames: the names of the classes.
        n_ctx: number of context tokens n; 0 keeps every word.
        clip_model: a stock CLIP.
        position: of the class name: "end" (after the context), "middle" (after its first half) or "front".
        own_context: whether every class has a context of its own.
        dtype: of the words; None for the model's type.
        of_images: whether images have contexts of their own.
        averaged: if given, the embedded words are the mean over these prompts of the same classes, position by position
            (DPL's ensemble, arXiv 2501.00457); where a class ends still follows from `texts`.
        cut: whether a prompt longer than the text context is cut off there.

    Raises:
        UserError: on another position, a prompt longer than the text context that is not cut, or a tokenizer that
            splits a placeholder into several tokens.
    """

    order: Tensor | None
    words: Tensor
    reading_order: Tensor | None

    def __init__(
        self,
        texts: Sequence[str],
        classnames: Sequence[str],
        n_ctx: int,
        clip_model: CLIP,
        position: str = "end",
        own_context: bool = False,
        dtype: torch.dtype | None = None,
        of_images: bool = False,
        averaged: Sequence[Sequence[str]] = (),
        cut: bool = False,
    ):
        super().__init__()
        one_of("CLASS_TOKEN_POSITION", position, POSITIONS)
        self.n_ctx = n_ctx
        self.texts = list(texts)
        self.position = position
        self.of_images = of_images
        tokenizer = tokenizer_of(clip_model)
        _require_one_id(leading_placeholders(self.texts[0], n_ctx), tokenizer)
        ids = tokenize(self.texts, classnames, tokenizer, cut)
        end = (ids == tokenizer.facts.end).long().argmax(dim=-1)  # the first
        each = [ids, *(tokenize(texts, classnames, tokenizer) for texts in averaged)]
        each = [one[:, : int(end.max()) + 1] for one in each]
        order = _reading_order(each[0], self.texts[0], n_ctx, position, classnames, tokenizer)
        symbols = [_symbols(one, n_ctx, own_context).gather(1, order) for one in each]
        self.alike = min(count_shared(one, end) for one in symbols)
        self.ends: list[int] = end.tolist()
        self.register_buffer("reading_order", None if position == "end" else order, persistent=False)
        self._lay_out(_mean_words(each[1:] or each, clip_model, dtype))

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> "PromptText":
        super()._apply(fn, *args, **kwargs)  # type: ignore[no-untyped-call]  # PyTorch's
        self.settle()
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]  # PyTorch's
        self.settle()  # it may have been pickled on another device

    def settle(self) -> None:
        """Lay the words out as their present device needs it."""
        if self._layout_on(self.words.device) != (self.shared, self.groups):
            self._lay_out(self._all_words())

    def _layout_on(self, device: torch.device) -> Layout:
        return lay_out(self.ends, self.alike, device, self.of_images)

    def _lay_out(self, words: Tensor) -> None:
        """Keep embedded words (C, L, T) as their device needs them: in parts if the context is shared, else whole."""
        for name in [name for name in self._buffers if name != "reading_order"]:
            delattr(self, name)
        device = words.device
        self.shared, self.groups = self._layout_on(device)
        self.context_in_prefix = self.position == "end" and self.shared > self.n_ctx
        order = order_of(self.groups)
        in_place = len(self.groups) == 1 and self.groups[0].classes == tuple(range(len(self.ends)))
        self.register_buffer("order", None if in_place else order.to(device), persistent=False)
        for number, group in enumerate(self.groups):
            end = torch.tensor(group.lengths).to(device) - 1
            self.register_buffer(f"end_{number}", end, persistent=False)
            classes = torch.tensor(group.classes).to(device)
            if self.context_in_prefix:
                own = words[classes, self.shared : self.shared + group.length]
                self.register_buffer(f"own_{number}", own[None].clone(), persistent=False)
            else:
                self.register_buffer(f"classes_{number}", None if in_place else classes, persistent=False)
        whole = words[:1, : self.shared].clone() if self.context_in_prefix else words
        self.register_buffer("words", whole, persistent=False)

    def _all_words(self) -> Tensor:
        """The embedded words (C, L, T); what comes after a prompt's end is arbitrary, since nothing reads it."""
        if not self.context_in_prefix:
            return self.words
        longest = max(group.length for group in self.groups)
        own = [getattr(self, f"own_{number}")[0] for number in range(len(self.groups))]
        laid = torch.cat([F.pad(words, (0, 0, 0, longest - words.shape[1])) for words in own])
        if self.order is not None:
            laid = laid.index_select(0, self.order)
        return torch.cat([self.words.expand(len(laid), -1, -1), laid], dim=1)

    def forward(self, ctx: Tensor, numbers: Sequence[int] | None = None) -> TextTokens:
        """The prompts with a context: (n, T), (C, n, T) of single classes, or (B, 1, n, T) of single images.

        With `numbers` only those prompts, each once, in that order.
        """
        text = self._with_context(ctx)
        return text if numbers is None else some(text, self.groups, numbers)

    def _with_context(self, ctx: Tensor) -> TextTokens:
        if self.context_in_prefix:
            ctx = ctx[:, 0] if ctx.dim() == 4 else ctx.reshape(1, *ctx.shape[-2:])  # (B, n, T)
            batch = ctx.shape[0]
            words = self.words.expand(batch, -1, -1)
            prefix = torch.cat([words[:, :1], ctx, words[:, 1 + self.n_ctx :]], dim=1)
            own = [getattr(self, f"own_{number}").expand(batch, -1, -1, -1) for number in range(len(self.groups))]
        else:
            text = self._whole(ctx)
            prefix = text[:, 0, : self.shared]
            own = [self._own(text, number, group) for number, group in enumerate(self.groups)]
        suffixes = [
            Suffix(tokens, getattr(self, f"end_{number}"), min(group.lengths) < group.length)
            for number, (tokens, group) in enumerate(zip(own, self.groups))
        ]
        return TextTokens(prefix, suffixes, self.order, self.context_in_prefix)

    def _own(self, text: Tensor, number: int, group: Group) -> Tensor:
        """A group's own tokens (B, c, L, T) of whole prompts (B, C, L, T)."""
        classes = getattr(self, f"classes_{number}")
        if classes is not None:
            text = text.index_select(1, classes)
        return text[:, :, self.shared : self.shared + group.length]

    def _whole(self, ctx: Tensor) -> Tensor:
        """Whole prompts (B, C, L, T)."""
        n_cls = self.words.shape[0]
        ctx = ctx.expand(*ctx.shape[:-3], n_cls, -1, -1)
        ctx = ctx if ctx.dim() == 4 else ctx[None]  # (B, C, n, T)
        words = self.words.expand(ctx.shape[0], -1, -1, -1)
        text = torch.cat([words[:, :, :1], ctx, words[:, :, 1 + self.n_ctx :]], dim=2)
        if self.reading_order is None:
            return text
        return text.gather(2, self.reading_order[None, :, :, None].expand_as(text))


def _require_one_id(count: int, tokenizer: Tokenizer) -> None:
    """Raise UserError unless `count` placeholders are as many tokens: else some would stay among the words."""
    there = len(tokenizer.words(" ".join([PLACEHOLDER] * count)))
    if there != count:
        raise UserError(
            f"The tokenizer of this CLIP model splits {count} placeholder words ({PLACEHOLDER}) into {there} tokens, "
            "so contexts cannot start from random vectors. Set CTX_INIT."
        )


def _mean_words(each: Sequence[Tensor], clip_model: CLIP, dtype: torch.dtype | None) -> Tensor:
    """The embeddings (C, L, T) of ids (C, L); with several ids, their mean."""
    if len(each) == 1:
        return embed_ids(each[0], clip_model, dtype)
    total = embed_ids(each[0], clip_model, torch.float32)
    for ids in each[1:]:
        total += embed_ids(ids, clip_model, torch.float32)
    return (total / len(each)).type(dtype or clip_model.dtype)


def _symbols(ids: Tensor, n_ctx: int, own_context: bool) -> Tensor:
    """Token ids (C, L), with numbers below 0 for the context: alike in all classes unless each has its own."""
    symbols = ids.clone()
    places = torch.arange(n_ctx)
    symbols[:, 1 : 1 + n_ctx] = -1 - places
    if own_context:
        symbols[:, 1 : 1 + n_ctx] -= n_ctx * torch.arange(len(ids))[:, None]
    return symbols


def _reading_order(
    ids: Tensor, first: str, n_ctx: int, position: str, classnames: Sequence[str], tokenizer: Tokenizer
) -> Tensor:
    """(C, L): where each token of a prompt comes from, when the name's tokens move before a part of the context.

    The name comes after the words that all prompts begin with (as in `first`); the context replaces n_ctx of them.
    """
    order = torch.arange(ids.shape[1]).repeat(len(ids), 1)
    ahead = {"end": n_ctx, "middle": n_ctx // 2, "front": 0}[position]  # context tokens in front of the name
    if ahead == n_ctx:
        return order
    words = len(tokenizer.words(first)) - len(tokenizer.words(readable(classnames[0]) + "."))  # in front of a name
    for row, classname in zip(order, classnames):
        name = len(tokenizer.words(readable(classname)))
        row[1 + ahead : 1 + ahead + name] = torch.arange(1 + words, 1 + words + name)
        row[1 + ahead + name : 1 + words + name] = torch.arange(1 + ahead, 1 + words)
    return order
