"""Class prompts through blocks of the text transformer: shared tokens once, each group of classes at its length.

Where arithmetic costs most, classes attend to the shared beginning's keys and values, by a mask. Where kernel launches
do, each class's attention covers its whole sequence, causal and without a mask, as the fastest kernels need it.

Shapes: B images, C classes, c classes of a group, P shared tokens, L own tokens, D text width, H heads, d = D / H, N
tokens of all parts.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from modprompt.clip.towers import Block
from modprompt.engine import text_layout
from modprompt.engine.blocks import Attend, attention, by_head, causal_after, close, project
from modprompt.engine.layer_change import LayerChange, is_drawn
from modprompt.engine.memory import recomputed
from modprompt.engine.text_layout import Suffix
from modprompt.engine.weight_cache import normalise


class Packed:
    """Tokens of the shared prefix (B, P, D) and of groups of classes (B, c, L, D), also as one (N, D) tensor."""

    def __init__(self, parts: Sequence[Tensor], flat: Tensor | None = None):
        self.shapes = [part.shape[:-1] for part in parts]
        self._parts = parts
        self.flat = lay_end_to_end(parts) if flat is None else flat

    def like(self, flat: Tensor) -> "Packed":
        """Other tokens of the same shapes, given as (N, D)."""
        return Packed(self.cut(flat), flat)

    def cut(self, flat: Tensor) -> list[Tensor]:
        """(N, D') cut into parts (B, P, D'), (B, c, L, D'), ..."""
        sizes, width = [shape.numel() for shape in self.shapes], flat.shape[-1]
        if len(flat) in sizes:  # the others are empty
            return [(flat if size else flat[:0]).view(*shape, width) for size, shape in zip(sizes, self.shapes)]
        return [x.view(*shape, width) for x, shape in zip(flat.split(sizes), self.shapes)]

    @property
    def prefix(self) -> Tensor:
        """(B, P, D)."""
        return self._parts[0]

    @property
    def suffixes(self) -> Sequence[Tensor]:
        """(B, c, L, D) of each group."""
        return self._parts[1:]


def lay_end_to_end(parts: Iterable[Tensor]) -> Tensor:
    """Parts (..., D) as one (N, D) tensor."""
    rows = [part.reshape(-1, part.shape[-1]) for part in parts if part.shape[:-1].numel()]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def run_packed(block: Block, x: Packed, attend: Attend = attention, change: LayerChange | None = None) -> Packed:
    """A block's output; the prefix attends to itself, each class to the prefix and itself, never to later tokens."""
    x = _entering(change, x)
    h = normalise(block.ln_1, x.flat)
    parts = x.cut(project(block, h, change=change))
    see = _attend_whole if text_layout.counts_launches(x.flat.device) else _attend_shared
    attended = lay_end_to_end(see(parts, block.attn.num_heads, attend))
    return x.like(close(block, x.flat, h, attended, change))


def run_last_packed(
    block: Block,
    x: Packed,
    suffixes: Sequence[Suffix],
    moved: int,
    attend: Attend = attention,
    change: LayerChange | None = None,
) -> Tensor:
    """A block's output (B, C, D) at each class's end only; the schedule has `moved` the ends."""
    ends = [suffix.end + moved for suffix in suffixes] if moved else [suffix.end for suffix in suffixes]
    if is_drawn(change):  # masks are for all tokens
        return _rows_at(run_packed(block, x, attend, change).suffixes, ends, x.prefix.shape[0])
    x = _entering(change, x)
    if text_layout.counts_launches(x.flat.device):
        return _run_last_whole(block, x, ends, attend, change)
    return _run_last_shared(block, x, ends, [suffix.padded for suffix in suffixes], attend, change)


def _entering(change: LayerChange | None, x: Packed) -> Packed:
    return x if change is None else x.like(change.enters(x.flat))


# ---------------------------------------------------------------- shared beginning: where arithmetic costs most


def _behind(prefix: Tensor, own: Tensor) -> Tensor:
    """Keys or values (B * c, P + L, H, d) of classes: the prefix's (B, P, H, d), then their own (B, c, L, H, d)."""
    batch, count = own.shape[:2]
    shared = prefix[:, None].expand(batch, count, *prefix.shape[1:])
    return torch.cat([shared, own], dim=2).flatten(0, 1)


def _attend_shared(parts: Sequence[Tensor], heads: int, attend: Attend) -> list[Tensor]:
    """What each token attends to, (B, P, D), then (B * c, L, D) of each group, from parts (..., 3 D)."""
    (query, key, value), *own = [by_head(part, 3, heads) for part in parts]
    device = query.device
    attended = [attend(query, key, value, causal_after(query.shape[1], query.shape[1], device))]
    for q, k, v in own:
        length = q.shape[2]
        mask = causal_after(length, key.shape[1] + length, device)
        attended.append(attend(q.flatten(0, 1), _behind(key, k), _behind(value, v), mask))
    return [part.flatten(-2) for part in attended]


def _run_last_shared(
    block: Block,
    x: Packed,
    ends: Sequence[Tensor],
    padded: Sequence[bool],
    attend: Attend,
    change: LayerChange | None,
) -> Tensor:
    heads, width = block.attn.num_heads, x.flat.shape[-1]
    h = normalise(block.ln_1, x.flat)
    (key, value), *own = (by_head(part, 2, heads) for part in x.cut(project(block, h, 1, change=change)))
    rows, h_rows, attended = [], [], []
    for tokens, normal, (k, v), end, some_end_before in zip(x.suffixes, x.cut(h)[1:], own, ends, padded):
        batch, count, length = k.shape[:3]
        numbers = torch.arange(count, device=end.device)
        h_end = normal[:, numbers, end]  # (B, c, D)
        query = project(block, h_end, 0, 1, change).view(batch * count, 1, heads, -1)
        mask = None
        if some_end_before:
            keys = torch.arange(key.shape[1] + length, device=end.device)
            seen = keys <= key.shape[1] + end[:, None]  # (c, P + L)
            mask = seen.repeat(batch, 1)[:, None, None, :]  # (B * c, 1, 1, P + L)
        out = attend(query, _behind(key, k), _behind(value, v), mask)
        attended.append(out.reshape(batch, count, width))
        rows.append(tokens[:, numbers, end])
        h_rows.append(h_end)
    x_end, out = torch.cat(rows, dim=1), torch.cat(attended, dim=1)  # (B, C, D)
    h_end = x_end if change is None else torch.cat(h_rows, dim=1)  # nothing else reads them
    flat = x_end.reshape(-1, width)
    return close(block, flat, h_end.reshape(-1, width), out.reshape(-1, width), change).view(x_end.shape)


# ---------------------------------------------------------------- whole sequences: where launches cost most


def _see(prefix: Tensor, own: Tensor, heads: int, attend: Attend) -> Tensor:
    """What each token of whole sequences attends to, (B * c, P + L, D), from a prefix (B, P, 3 D) and (B, c, L, 3 D).

    With a prefix the backward pass computes it again; otherwise the prefix and much else would be kept for each class.
    """
    return recomputed(_see_behind, prefix, own, heads, attend) if prefix.shape[1] else _see_own(own, heads, attend)


def _see_behind(prefix: Tensor, own: Tensor, heads: int, attend: Attend) -> Tensor:
    return _see_own(torch.cat([prefix[:, None].expand(-1, own.shape[1], -1, -1), own], dim=2), heads, attend)


def _see_own(whole: Tensor, heads: int, attend: Attend) -> Tensor:
    query, key, value = by_head(whole.view(-1, *whole.shape[-2:]), 3, heads)
    return attend(query, key, value, causal=True).flatten(-2)


def _attend_whole(parts: Sequence[Tensor], heads: int, attend: Attend) -> list[Tensor]:
    """As _attend_shared; the prefix sees the same before any class, so the first one's is taken."""
    prefix, *own = parts
    seen = [_see(prefix, part, heads, attend) for part in own]
    batch, shared = prefix.shape[:2]
    if not shared:
        return seen
    halves = [part.split([shared, part.shape[1] - shared], dim=1) for part in seen]
    ahead = halves[0][0]  # (B * c, P, D), alike for all classes of an image
    return [ahead.view(batch, -1, *ahead.shape[1:])[:, 0], *(behind for _, behind in halves)]


def _run_last_whole(
    block: Block, x: Packed, ends: Sequence[Tensor], attend: Attend, change: LayerChange | None
) -> Tensor:
    heads, width = block.attn.num_heads, x.flat.shape[-1]
    h = normalise(block.ln_1, x.flat)
    prefix, *own = x.cut(project(block, h, change=change))
    seen = [_see(prefix, part, heads, attend) for part in own]
    batch, shared = prefix.shape[:2]
    out = _rows_at(seen, [shared + end for end in ends] if shared else ends, batch)
    x_end = _rows_at(x.suffixes, ends, batch)  # (B, C, D)
    h_end = x_end if change is None else _rows_at(x.cut(h)[1:], ends, batch)  # nothing else reads them
    flat = x_end.reshape(-1, width)
    return close(block, flat, h_end.reshape(-1, width), out.reshape(-1, width), change).view(x_end.shape)


def _rows_at(parts: Sequence[Tensor], ends: Sequence[Tensor], batch: int) -> Tensor:
    """The token at each class's end, out of (B, c, L, D) or (B * c, L, D): (B, C, D)."""
    found = []
    for part, end in zip(parts, ends):
        flat, length = part.reshape(-1, part.shape[-1]), part.shape[-2]
        first = torch.arange(0, len(flat), length, device=end.device)  # of each class
        places = first + (end if batch == 1 else end.repeat(batch))
        found.append(flat.index_select(0, places).view(batch, len(end), -1))
    return found[0] if len(found) == 1 else torch.cat(found, dim=1)
