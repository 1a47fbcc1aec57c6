"""What a layer computes in addition to its own frozen weights, on either side.

Shapes: N tokens, D width of the side.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from modprompt.clip.towers import Block
from modprompt.errors import UserError


class LayerChange:
    """Base of the changes to a layer; what a subclass does not override changes nothing.

    All functions treat tokens one by one, so packed tokens (N, D), sequences (B, L, D) and the rows that the last layer
    reads are all accepted.
    """

    def enters(self, x: Tensor) -> Tensor:
        """What enters the layer in place of tokens x (..., D), prompt tokens too.

        Before the first layer the tokens have their positions, and those of images have passed ln_pre.
        """
        return x

    def product(self, which: str, x: Tensor) -> Tensor | None:
        """What is added to W x + b, (..., D); None for nothing.

        Args:
            which: the matrix: "q", "k", "v" or "o".
            x: what it is multiplied with: normalised tokens, for "o" what attention gave.
        """
        return None

    def added_to(self, products: Tensor, which: str, x: Tensor) -> Tensor:
        """Products (..., k D) of tokens x (..., D) by k matrices, the letters of `which`, with what is added."""
        added = [self.product(one, x) for one in which]
        if all(one is None for one in added):
            return products
        parts = products.split(products.shape[-1] // len(which), dim=-1)
        return torch.cat(
            [part if more is None else part + more.to(part.dtype) for part, more in zip(parts, added)], dim=-1
        )

    def residual(self, out: Tensor, h: Tensor) -> Tensor:
        """The block's output `out` with what is added to it.

        Args:
            out: (N, D), in the type of the stream.
            h: the same tokens as they entered the block, normalised by its own ln_1.
        """
        return out

    # ------------------------------ for changes of matrices, which may draw masks, and may be merged into the matrices

    draws = False  # whether masks have to be drawn: then every class is a sequence of its own, and all its tokens run
    draws_at_once = False  # whether it draws masks as it is computed: then all classes are computed at once
    is_drawn = False  # whether there are masks; tokens (S L, D) are then in the order of sequences
    merges = False  # whether the block itself is to be changed

    @property
    def factors(self) -> Sequence[Tensor]:
        """Its tensors that are cast to the type of the tokens."""
        return ()

    def with_factors(self, factors: Sequence[Tensor]) -> "LayerChange":
        """A copy with other factors, of the same number."""
        return self

    def drawn(self, tokens: int, sequences: int) -> "LayerChange":
        """A copy with masks for `tokens` tokens of each of `sequences` sequences."""
        return self

    def of_sequences(self, rows: slice) -> "LayerChange":
        """A copy with the masks of some sequences."""
        return self

    def merged(self, block: Block) -> Block:
        """The block with changed matrices or normalisations."""
        return block


class MergedBlock:
    """A block with other parts, whose tensors are read; all else is the block's own."""

    def __init__(self, block: Block, **parts: Any):
        self.ln_1, self.ln_2, self.mlp, self.attn = block.ln_1, block.ln_2, block.mlp, block.attn
        vars(self).update(parts)


Changes = Sequence[LayerChange | None]  # of each layer; empty for none anywhere


class LayerChanges(Protocol):
    """A module that learns changes of layers, of one side or both."""

    @property
    def on_text(self) -> bool:
        """Whether the text side has changes."""

    @property
    def on_images(self) -> bool:
        """Whether the vision side has changes."""

    def text_changes(self, layers: int) -> Changes:
        """The current changes of a text side with `layers` layers."""

    def vision_changes(self, layers: int) -> Changes:
        """The same for a vision side."""


def change_of(changes: Changes, layer: int) -> LayerChange | None:
    """The change of a layer."""
    return changes[layer] if changes else None


def entering(change: LayerChange | None, x: Tensor) -> Tensor:
    """What enters a layer, of tokens x."""
    return x if change is None else change.enters(x)


def changed(change: LayerChange | None, which: str, x: Tensor, products: Tensor) -> Tensor:
    """Products (..., k D) of tokens x (..., D), of k matrices named by the letters of `which`, with what is added."""
    return products if change is None else change.added_to(products, which, x)


def in_type(changes: Changes, dtype: torch.dtype) -> Changes:
    """Changes in the type of the tokens; all that differ are cast at once, since each cast is a kernel launch."""
    factors = [one for change in changes if change is not None for one in change.factors]
    if all(one.dtype == dtype for one in factors):
        return changes
    cast = torch.cat([one.flatten() for one in factors]).to(dtype).split([one.numel() for one in factors])
    typed = iter([one.view(like.shape) for one, like in zip(cast, factors)])
    return [
        change if change is None or not change.factors else change.with_factors([next(typed) for _ in change.factors])
        for change in changes
    ]


def in_matrices(block: Block, change: LayerChange | None) -> tuple[Block, LayerChange | None]:
    """A block with the change merged into its matrices, if that is asked for, and what is left of the change."""
    return (block, change) if change is None or not change.merges else (change.merged(block), None)


def write_in(blocks: Sequence[Block], changes: Changes) -> Changes:
    """Write changes of matrices and normalisations into the blocks; returns what is left of the changes."""
    left = []
    for block, change in zip(blocks, changes):
        made, rest = in_matrices(block, change)
        left.append(rest)
        if made is not block:
            with torch.no_grad():
                for own, other in zip(_changeable(block), _changeable(made)):
                    own.copy_(other)
    return left


def _changeable(block: Block) -> list[Tensor]:
    """The tensors of a block that a merged one may have otherwise."""
    norms = [getattr(norm, name) for norm in (block.ln_1, block.ln_2) for name in ("weight", "bias")]
    return [block.attn.in_proj_weight, block.attn.out_proj.weight, *norms]


def draws(changes: Changes) -> bool:
    """Whether some change has to draw masks."""
    return any(one is not None and one.draws for one in changes)


def require_at_once(changes: Changes, chunks: int) -> None:
    """Raise UserError if masks would be drawn for each chunk of classes, and again in the backward pass."""
    if chunks > 1 and any(one is not None and one.draws_at_once for one in changes):
        raise UserError(
            "DROPOUT_SHARED uses the same dropout mask for all classes, so all classes must be encoded together, but "
            f"the memory is only sufficient to encode them in {chunks} chunks. Set DROPOUT_SHARED to False or DROPOUT "
            "to 0, or use fewer classes."
        )


def is_drawn(change: LayerChange | None) -> bool:
    """Whether a change has masks for all tokens of whole sequences."""
    return change is not None and change.is_drawn


def drawn(changes: Changes, tokens: int, sequences: int) -> Changes:
    """Changes with masks for `tokens` tokens of each of `sequences` sequences, drawn layer by layer where needed."""
    return [one.drawn(tokens, sequences) if one is not None and one.draws else one for one in changes]


def of_sequences(changes: Changes, rows: slice) -> Changes:
    """Changes with the masks of some sequences."""
    return [one.of_sequences(rows) if one is not None and one.is_drawn else one for one in changes]
