"""CLIP's two encoders, run from a stock model's own weights with prompt tokens put in by a schedule.

Both accept one tensor of new tokens per layer (or None); the schedule says how many of the present prompt tokens are
removed first. Source of the token order: MPL (arXiv 2502.14125), MaPLe (arXiv 2210.03117).

Shapes: B images, C classes, L tokens, D width of the side, E joint width, n prompt tokens, P shared text tokens.
"""

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from modprompt.clip.towers import (
    CLIP,
    Block,
    ResNet,
    Tower,
    VisionTransformer,
    has_stock_text,
    prompted_image,
    prompted_text,
)
from modprompt.engine import layer_change
from modprompt.engine.additions import attends, in_type, new_tokens, of_classes, step_of
from modprompt.engine.blocks import Attend, run_block, run_last_block, tokens_of
from modprompt.engine.image_layers import Watch, through_layers
from modprompt.engine.layer_change import (
    Changes,
    LayerChange,
    change_of,
    drawn,
    draws,
    in_matrices,
    is_drawn,
    of_sequences,
    require_at_once,
)  # fmt: skip
from modprompt.engine.memory import most_text_tokens, recomputed
from modprompt.engine.prompts import Additions
from modprompt.engine.read_out import ReadOut
from modprompt.engine.schedule import BEFORE_START, CARRY, Schedule, no_prompts
from modprompt.engine.text_layers import Packed, run_last_packed, run_packed
from modprompt.engine.text_layout import Suffix, TextTokens, apart, most_sequences, split
from modprompt.engine.token_updates import Standing, recompose
from modprompt.engine.tower_vision import TowerVisionEncoder
from modprompt.engine.weight_cache import normalise
from modprompt.engine.whole_text import AT_ONCE, WholeTextEncoder


def _rows(chunks: list[list[Suffix]]) -> Iterator[slice]:
    """The classes of each chunk, as a slice of the classes of all groups in their order."""
    first = 0
    for chunk in chunks:
        count = sum(len(suffix.end) for suffix in chunk)
        yield slice(first, first + count)
        first += count


class VisionEncoder(nn.Module):
    """Image features of a CLIP vision transformer; prompt tokens stand at the end of the sequence.

    Args:
        visual: the image side of a stock CLIP.
        schedule: of the vision side.
        stream: type of the tokens between products; None for that of the weights.
    """

    def __init__(self, visual: VisionTransformer, schedule: Schedule, stream: torch.dtype | None = None):
        super().__init__()
        self.visual = visual
        self.schedule = schedule
        self.stream = stream

    @property
    def feature_type(self) -> torch.dtype:
        """The type of the features."""
        return self.visual.proj.dtype

    def _embed(self, image: Tensor) -> Tensor:
        visual = self.visual
        x = visual.conv1(image.to(visual.conv1.weight.dtype)).flatten(2).transpose(1, 2)  # (B, patches, D)
        x = x.to(self.stream or x.dtype)
        first = visual.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        return torch.cat([first, x], dim=1) + visual.positional_embedding.to(x.dtype)

    def forward(
        self,
        image: Tensor,
        additions: Additions,
        changes: Changes = (),
        watch: Watch | None = None,
        read: ReadOut | None = None,
    ) -> Tensor:
        """Features (B, E) of images (B, 3, H, W); `additions` holds one (n, D) tensor or None per layer.

        With `watch` every layer runs for all tokens, the last one too. With `read`, which excludes `watch`, features
        (B, 2 E): each image's own, then the one that is read out of its prompt tokens.
        """

        def last(
            block: Block, x: Tensor, attend: Attend, change: LayerChange | None, prompts: slice
        ) -> Tensor:  # (B, D), or with `read` (B, 1 + n, D)
            rows = None if read is None else prompts
            if watch is None and not is_drawn(change):
                return run_last_block(block, x, attend, change=change, prompts=rows)
            return tokens_of(run_block(block, x, attend=attend, change=change), prompts=rows)

        visual = self.visual
        x = through_layers(visual, self._embed(image), self.schedule, additions, changes, watch, last)
        x = normalise(visual.ln_post, x).to(visual.proj.dtype)
        if read is None:
            return x @ visual.proj
        return torch.cat([x[:, 0] @ visual.proj, read.feature(x[:, 1:], visual.proj)], dim=-1)


class ResNetEncoder(nn.Module):
    """Image features of a CLIP ResNet, which has no layers for prompts."""

    def __init__(self, visual: ResNet):
        super().__init__()
        self.visual = visual

    @property
    def feature_type(self) -> torch.dtype:
        """The type of the features."""
        return self.visual.conv1.weight.dtype

    def forward(self, image: Tensor, additions: Additions, changes: Changes = ()) -> Tensor:
        """Features (B, E) of images (B, 3, H, W); nothing else is read."""
        features: Tensor = self.visual(image.type(self.visual.conv1.weight.dtype))
        return features


class ImageTowerEncoder(nn.Module):
    """Image features of a tower, which has no layers for prompts."""

    def __init__(self, visual: Tower):
        super().__init__()
        self.visual = visual

    @property
    def feature_type(self) -> torch.dtype:
        """The type of the features."""
        return self.visual.feature_type

    def forward(self, image: Tensor, additions: Additions, changes: Changes = ()) -> Tensor:
        """Features (B, E) of images (B, 3, H, W); nothing else is read."""
        features: Tensor = self.visual(image)
        return features


def image_encoder(
    visual: VisionTransformer | ResNet | Tower, schedule: Schedule, stream: torch.dtype | None = None
) -> VisionEncoder | ResNetEncoder | TowerVisionEncoder | ImageTowerEncoder:
    """The encoder for an image side; for a ResNet, or a tower without prompts, the schedule has no layers."""
    if isinstance(visual, Tower):
        has_layers = prompted_image(visual) is not None
        return TowerVisionEncoder(visual, schedule, stream) if has_layers else ImageTowerEncoder(visual)
    if hasattr(visual, "transformer"):  # the class may come from any `clip` package: its attributes decide
        return VisionEncoder(cast(VisionTransformer, visual), schedule, stream)
    return ResNetEncoder(cast(ResNet, visual))


def unprompted(
    visual: VisionTransformer | ResNet | Tower, stream: torch.dtype | None = None
) -> VisionEncoder | ResNetEncoder | TowerVisionEncoder | ImageTowerEncoder:
    """The encoder for an image side into which no prompts go."""
    side = prompted_image(visual)
    layers = len(side.transformer.resblocks) if side else 0
    return image_encoder(visual, no_prompts(layers), stream)


def no_additions(encoder: nn.Module) -> Additions:
    """The additions of an encoder without prompts: None for each of its layers."""
    return [None] * len(getattr(encoder, "schedule", ()))


class Below(NamedTuple):
    """Class prompts after the lowest layers, those that nothing learned reaches.

    layers: how many.
    chunks: the prompts of each chunk of classes.
    """

    layers: int
    chunks: Sequence[Packed]


class TextEncoder(nn.Module):
    """Class features of CLIP's text transformer; prompt tokens stand where the schedule's `place` says.

    After the start token those of layer 0 are part of the embedded prompts, so they get a positional embedding as
    words do. At other places they are additions like those of other layers. What all classes share is computed once,
    and of the last layer only what is read.

    Args:
        clip_model: a stock CLIP.
        schedule: of the text side.
        stream: type of the tokens between products; None for that of the embeddings.
        most_tokens: tokens that classes do not share, computed at a time; with more, the backward pass recomputes each
            chunk, as it does with more sequences than a GPU's attention accepts.
    """

    def __init__(
        self,
        clip_model: CLIP,
        schedule: Schedule,
        stream: torch.dtype | None = None,
        most_tokens: int | None = None,
    ):
        super().__init__()
        self.transformer = clip_model.transformer
        self.positional_embedding = clip_model.positional_embedding
        self.ln_final = clip_model.ln_final
        self.text_projection = clip_model.text_projection
        self.schedule = schedule
        self.stream = stream
        self.most_tokens = most_tokens
        self._more = (
            max(schedule.counts, default=0) - schedule.among_words
        )  # tokens of the longest layer beyond the words

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.positional_embedding.device

    def most_of(self, text: Any, free: int | None) -> int | None:
        """How many own tokens of classes fit in half of the free bytes, with embedded words; None for any number."""
        layers, width = len(self.transformer.resblocks), self.positional_embedding.shape[1]
        return most_text_tokens(layers, width, text.words.element_size(), free)

    def untouched(self, text: TextTokens, additions: Additions, changes: Changes) -> int:
        """How many of the lowest layers nothing learned reaches; at least one layer is never counted."""
        if text.prefix.requires_grad or any(suffix.tokens.requires_grad for suffix in text.suffixes):
            return 0
        layers = len(self.schedule) - 1
        for layer, step in enumerate(self.schedule[:layers]):
            there = layer == 0 and self.schedule.among_words
            if additions[layer] is not None or change_of(changes, layer) is not None or (step != CARRY and not there):
                return layer
        return layers

    @torch.no_grad()
    def below(self, text: TextTokens, layers: int) -> Below:
        """Class prompts after the lowest `layers` layers, which nothing learned reaches (see `untouched`)."""
        chunks = [self._embed(text.prefix, [suffix.tokens for suffix in chunk]) for chunk in self._chunks(text)]
        for block in self.transformer.resblocks[:layers]:
            chunks = [run_packed(block, x) for x in chunks]
        return Below(layers, chunks)

    def forward(
        self, text: TextTokens, additions: Additions, changes: Changes = (), below: Below | None = None
    ) -> Tensor:
        """Features (B, C, E), B = 1 unless images have prompts of their own.

        Args:
            text: the embedded class prompts.
            additions: one (n, D) tensor or None per layer, tokens of single classes, or what has an attention
                of its own (additions.py); a tensor of layer 0 is read unless prompt tokens stand among the words.
            changes: of each layer, or none.
            below: what `below` returned for this text, to continue from.
        """
        changes = layer_change.in_type(changes, self.stream or text.prefix.dtype)
        if draws(changes):
            text = apart(text)
            classes = text.suffixes[0].tokens.shape[1]
            changes = drawn(changes, len(self.positional_embedding) + self._more, classes)
        chunks, order = self._chunks(text), text.order
        require_at_once(changes, len(chunks))
        if order is not None:
            additions = of_classes(additions, lambda tokens: tokens.index_select(0, order.argsort()))
        layers, begun = (0, [None] * len(chunks)) if below is None else below
        if len(chunks) == 1:
            features = self._features(text, chunks[0], additions, changes, layers, begun[0])
        else:
            own = [(of_classes(additions, itemgetter(rows)), of_sequences(changes, rows)) for rows in _rows(chunks)]
            each = [
                recomputed(self._features, text, chunk, *mine, layers, x) for chunk, mine, x in zip(chunks, own, begun)
            ]
            features = torch.cat(each, dim=1)
        return features if order is None else features.index_select(1, order)

    def _chunks(self, text: TextTokens) -> list[list[Suffix]]:
        """The classes that are computed at a time: as many as memory, and on a GPU one call of attention, allows."""
        images, shared, width = text.prefix.shape
        longest = shared + max([suffix.tokens.shape[2] for suffix in text.suffixes]) + self._more
        heads = self.transformer.resblocks[0].attn.num_heads
        sequences = most_sequences(longest, heads, width, text.prefix.device)
        tokens = None if self.most_tokens is None else max(1, self.most_tokens // images)
        return split(text.suffixes, tokens, None if sequences is None else sequences // images)

    def _features(
        self,
        text: TextTokens,
        suffixes: list[Suffix],
        additions: Additions,
        changes: Changes,
        begun: int,
        x: Packed | None,
    ) -> Tensor:
        """Features (B, c, E) of the classes of a chunk; x are their tokens after the first `begun` layers."""
        blocks = self.transformer.resblocks
        if x is None:
            x = self._embed(text.prefix, [suffix.tokens for suffix in suffixes])
        additions = in_type(additions, x.flat.dtype)
        at = self._standing(text.context_in_prefix)
        for layer, (block, new) in enumerate(zip(blocks[begun:], additions[begun:]), begun):
            step = step_of(new, self.schedule[layer])
            there = layer == 0 and self.schedule.among_words
            if not there and (step.remove or step.add):
                x, at = recompose(x, at, step.remove, new_tokens(new))
            block, change = in_matrices(block, change_of(changes, layer))
            attend = attends(block, new, at.start)
            if layer + 1 < len(blocks):
                x = run_packed(block, x, attend, change)
        moved = x.suffixes[0].shape[2] - suffixes[0].tokens.shape[2]  # how far the schedule moved the ends
        last = run_last_packed(block, x, suffixes, moved, attend, change)  # (B, c, D)
        return normalise(self.ln_final, last).to(self.text_projection.dtype) @ self.text_projection

    def _standing(self, context_in_prefix: bool) -> Standing:
        """Where the prompt tokens of layer 0 stand among the words."""
        start, there = int(self.schedule.place != BEFORE_START), self.schedule.among_words
        if context_in_prefix:
            return Standing(start, there, 0, opened=False)
        return Standing(start, 0, there, opened=True)

    def _embed(self, prefix: Tensor, suffixes: list[Tensor]) -> Packed:
        stream = self.stream or prefix.dtype
        position = self.positional_embedding.to(stream)
        shared = prefix.shape[1]
        own = [x.to(stream) + position[shared : shared + x.shape[2]] for x in suffixes]
        return Packed([prefix.to(stream) + position[:shared] if shared else prefix, *own])


class CausalTowerEncoder(TextEncoder):
    """The same for a tower whose text side has a causal mask (PE, MetaCLIP 2).

    Args:
        tower: the text tower.
        side: its parts, under a stock CLIP's names.
        schedule: of the text side.
        stream: as of TextEncoder.
    """

    def __init__(self, tower: Tower, side: Any, schedule: Schedule, stream: torch.dtype | None = None):
        super().__init__(side, schedule, stream)
        self.tower = tower

    def below(self, text: TextTokens, layers: int) -> Below:
        """As TextEncoder."""
        with self.tower.autocast(self.device):
            return super().below(text, layers)

    def forward(
        self, text: TextTokens, additions: Additions, changes: Changes = (), below: Below | None = None
    ) -> Tensor:
        """As TextEncoder."""
        with self.tower.autocast(self.device):
            return super().forward(text, additions, changes, below)


class TextTowerEncoder(nn.Module):
    """Class features of a text tower.

    A few texts are computed at a time: always the same number, so that sums are rounded alike on all machines.
    """

    stream: torch.dtype | None = None  # it has none: features have the tower's type

    def __init__(self, text: Tower):
        super().__init__()
        self.text = text
        self.most_tokens: int | None = None

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.text.parameters()).device

    def most_of(self, text: Any, free: int | None) -> int | None:
        """As many as always."""
        return None

    def forward(self, ids: Tensor, additions: Additions, changes: Changes = ()) -> Tensor:
        """Features (1, C, E) of token ids (C, L); nothing else is read."""
        count = AT_ONCE if self.most_tokens is None else max(1, self.most_tokens // ids.shape[1])
        return torch.cat([self.text(some) for some in ids.split(count)])[None]


def text_encoder(
    clip_model: CLIP, schedule: Schedule, stream: torch.dtype | None = None
) -> TextEncoder | WholeTextEncoder | TextTowerEncoder:
    """The encoder for a text side; for a tower without prompts the schedule has no layers."""
    if has_stock_text(clip_model):
        return TextEncoder(clip_model, schedule, stream)
    side, tower = prompted_text(clip_model), cast(Tower, clip_model.text)
    if side is None:
        return TextTowerEncoder(tower)
    return (WholeTextEncoder if side.attn_mask is None else CausalTowerEncoder)(tower, side, schedule, stream)
