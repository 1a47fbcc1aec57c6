"""Class prompts of text sides without a causal mask (SigLIP): whole texts, since their padding is read.

Every class has all L positions: each context token replaces a padding token, so that what is read at a place stays at
that place. Classes share nothing, since each beginning sees what comes after it.

Shapes: B images that have prompts of their own (1 if none have), C classes, c classes of a chunk, L positions of a
text, W tokens of the longest words, n context tokens, T text width, E joint width.
"""

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn

from modprompt.checks import one_of
from modprompt.clip.tokenizers import Tokenizer
from modprompt.clip.towers import CLIP, Tower, tokenizer_of
from modprompt.engine.additions import attends, in_type, new_tokens, of_classes, step_of
from modprompt.engine.blocks import run_block, run_last_block
from modprompt.engine.context import leading_placeholders
from modprompt.engine.layer_change import Changes, change_of, draws, in_matrices
from modprompt.engine.memory import most_text_tokens, recomputed
from modprompt.engine.prompts import Additions, embed_ids
from modprompt.engine.schedule import BEHIND_START, Schedule
from modprompt.engine.text_layout import Group, WholeTokens, most_sequences
from modprompt.engine.token_updates import OfClasses, renew
from modprompt.engine.weight_cache import normalise
from modprompt.errors import UserError

AT_ONCE = 64  # texts that are computed together where there are no gradients: more at a time saves nothing


class WholeText(nn.Module):
    """The frozen part of class prompts; what PromptText (prompts.py) is for a text side with a causal mask.

    The context comes at the beginning: such texts have no start token. Features are read at the last position.

    Args:
        texts: the prompts of C classes; the context replaces their first n tokens.
        classnames: the names of the classes.
        n_ctx: number of context tokens n; 0 keeps every word.
        clip_model: a CLIP with such a text side.
        position: of the class name: only "end", after the context.
        own_context: whether every class has a context of its own.
        dtype: of the words; None for the model's type.
        of_images: whether images have contexts of their own.
        averaged: templates whose words are averaged: none.
        cut: whether a prompt longer than the text side's is cut off there.

    Raises:
        UserError: on another position or templates, or a prompt longer than the text side's that is not cut.
    """

    words: Tensor
    padding: Tensor

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
        one_of("CLASS_TOKEN_POSITION with a text encoder without a causal mask", position, ("end",))
        if averaged:
            raise UserError(
                "The embeddings of several templates can be averaged only in a text encoder with a causal mask. "
                "Use a single template."
            )
        self.texts = list(texts)
        tokenizer = tokenizer_of(clip_model)
        self.length = tokenizer.facts.length
        most = self.length - n_ctx
        rows = [_words(text, label, n_ctx, most, tokenizer, cut) for text, label in zip(texts, classnames)]
        longest = max(map(len, rows))
        padding = tokenizer.facts.padding
        ids = [row + [padding] * (longest - len(row)) for row in rows]
        for name, some in (("words", ids), ("padding", [padding])):
            embedded = embed_ids(torch.tensor(some, dtype=torch.long), clip_model, dtype)
            self.register_buffer(name, embedded, persistent=False)

    @property
    def groups(self) -> list[Group]:
        """A single group with all classes."""
        count = len(self.texts)
        return [Group(tuple(range(count)), (self.length,) * count, self.length)]

    def forward(self, ctx: Tensor, numbers: Sequence[int] | None = None) -> WholeTokens:
        """The prompts with a context: (n, T), (C, n, T) of single classes, or (B, 1, n, T) of single images.

        With `numbers` only those prompts, in that order.
        """
        ctx = ctx[(None,) * (4 - ctx.dim())]
        text = WholeTokens(ctx, self.words, self.padding)
        return text if numbers is None else text.of(torch.tensor(numbers).to(ctx.device, non_blocking=True))


class WholeTextEncoder(nn.Module):
    """Class features of a text side without a causal mask; new prompt tokens take the places of removed ones.

    Args:
        tower: a text tower.
        side: its parts, without a causal mask.
        schedule: of that side.
        stream: type of the tokens between products; None for that of the weights.
        most_tokens: tokens that are computed at a time; with more, the backward pass recomputes each chunk.

    Raises:
        UserError: on a schedule that moves words: one with more prompt tokens in some layers than in others, or with
            prompt tokens before a start token.
    """

    def __init__(
        self,
        tower: Tower,
        side: Any,
        schedule: Schedule,
        stream: torch.dtype | None = None,
        most_tokens: int | None = None,
    ):
        super().__init__()
        _require_in_place(schedule)
        self.tower = tower
        self.side = side
        self.schedule = schedule
        self.stream = stream
        self.most_tokens = most_tokens

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.tower.parameters()).device

    def most_of(self, text: Any, free: int | None) -> int | None:
        """How many tokens of classes fit in half of the free bytes; None for any number."""
        positions = self.side.positional_embedding
        layers, itemsize = len(self.side.transformer.resblocks), positions.element_size()
        return most_text_tokens(layers, positions.shape[1], itemsize, free)

    def forward(self, text: WholeTokens, additions: Additions, changes: Changes = ()) -> Tensor:
        """Features (B, C, E) of class prompts; `additions` has one (n, T) tensor or None per layer, or OfClasses.

        Raises:
            UserError: if a change draws masks: layers that are computed again would draw others.
        """
        if draws(changes):
            raise UserError("DROPOUT is not supported by the text encoder of this CLIP model. Set DROPOUT to 0.")
        with self.tower.autocast(self.device):
            chunks = [(text.of(rows), of_classes(additions, itemgetter(rows))) for rows in self._chunks(text)]
            if len(chunks) == 1:
                return self._features(*chunks[0], changes)
            return torch.cat([recomputed(self._features, part, own, changes) for part, own in chunks], dim=1)

    def _chunks(self, text: WholeTokens) -> Iterator[slice]:
        """The classes that are computed at a time: as many as memory, and on a GPU one call of attention, allows."""
        images, count = text.ctx.shape[0], text.words.shape[0]
        length, width = self.side.positional_embedding.shape
        heads = self.side.transformer.resblocks[0].attn.num_heads
        sequences = most_sequences(length, heads, width, self.device) or images * count
        fits = sequences if self.most_tokens is None else min(sequences, self.most_tokens // length)
        each = max(1, fits // images)
        if not torch.is_grad_enabled():
            each = min(each, AT_ONCE)
        return (slice(first, first + each) for first in range(0, count, each))

    def _features(self, text: WholeTokens, additions: Additions, changes: Changes) -> Tensor:
        """Features (B, c, E) of the classes of a chunk."""
        side, present = self.side, text.ctx.shape[2]
        position = side.positional_embedding
        x = text.laid_out(len(position), self.stream or position.dtype)
        shape = x.shape[:2]
        x = x + position.to(x.dtype)
        additions = in_type(additions, x.dtype)
        blocks = side.transformer.resblocks
        for layer, (block, new) in enumerate(zip(blocks, additions)):
            step = step_of(new, self.schedule[layer])
            if layer:  # those of layer 0 are in their places
                joins = new_tokens(new)
                tokens = joins.tokens if isinstance(joins, OfClasses) else joins
                x = renew(x, 0, present, step.remove, tokens)
            block, change = in_matrices(block, change_of(changes, layer))
            attend = attends(block, new, 0)
            sequences = x.flatten(0, 1)
            if layer + 1 < len(blocks):
                x = run_block(block, sequences, attend=attend, change=change).view(x.shape)
        end = torch.full((len(sequences),), len(position) - 1, device=x.device)
        last = run_last_block(block, sequences, attend, end, change)  # (B * c, T)
        x, projection = normalise(side.ln_final, last), side.text_projection
        return (x if projection is None else projection(x.to(projection.weight.dtype))).view(*shape, -1)


def _require_in_place(schedule: Schedule) -> None:
    """Raise UserError on a schedule that moves words."""
    if schedule.place != BEHIND_START and max(schedule.counts, default=0):
        raise UserError(
            f"PLACE_TEXT {schedule.place} is not supported by the text encoder of this CLIP model. Set PLACE_TEXT to "
            f"{BEHIND_START}."
        )
    first = schedule.counts[0]
    for layer, count in enumerate(schedule.counts):
        if count != first:
            raise UserError(
                "text schedule: the text encoder of this CLIP model needs the same number of prompt tokens in every "
                f"layer, but layer 0 has {first} and layer {layer} has {count}. In every layer after layer 0, remove "
                "as many tokens as you add."
            )


def _words(text: str, label: str, n_ctx: int, most: int, tokenizer: Tokenizer, cut: bool) -> list[int]:
    """The ids after the context, with the end token: those of the text without its first n_ctx.

    Each placeholder stands for one vector, however the tokenizer splits a row of them.

    Raises:
        UserError: if there are more than `most`, and they are not cut.
    """
    held = leading_placeholders(text, n_ctx)
    rest = text.split(None, held)[held:]
    ids = [*tokenizer.words(" ".join(rest))[n_ctx - held :], tokenizer.facts.end]
    if len(ids) > most and cut:
        return [*ids[: most - 1], tokenizer.facts.end]
    if len(ids) > most:
        length = tokenizer.facts.length
        count = len(ids) + length - most
        raise UserError(
            f"The prompt of class {label[:120]!r} has {count} tokens, but the maximum is {length}: "
            f"{text[:120]!r}. Shorten CTX_INIT or the class name, or reduce N_CTX."
        )
    return ids
