"""The layers of an image side, with prompt tokens at the end of the sequence, put in by a schedule.

Shapes: B images, L tokens, D width of the side.
"""

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor

from modprompt.clip.towers import Block
from modprompt.engine import layer_change
from modprompt.engine.additions import attends, in_type, new_tokens, step_of
from modprompt.engine.blocks import Attend, run_block
from modprompt.engine.layer_change import Changes, LayerChange, change_of, drawn, in_matrices
from modprompt.engine.prompts import Additions
from modprompt.engine.schedule import BEFORE_LN_PRE, Schedule
from modprompt.engine.token_updates import Mixed, renew
from modprompt.engine.weight_cache import normalise

Watch = Callable[[int, Attend], Attend]  # the attention of a layer, and what is run in its place
Last = Callable[[Block, Tensor, Attend, LayerChange | None, slice], Tensor]  # with where the prompt tokens stand


def all_tokens(block: Block, x: Tensor, attend: Attend, change: LayerChange | None, prompts: slice) -> Tensor:
    """A block's output for all tokens (B, L, D)."""
    return run_block(block, x, attend=attend, change=change)


def through_layers(
    side: Any,
    x: Tensor,
    schedule: Schedule,
    additions: Additions,
    changes: Changes = (),
    watch: Watch | None = None,
    last: Last = all_tokens,
) -> Tensor:
    """Tokens after all layers of a side, from embedded tokens x (B, L, D).

    Args:
        side: has ln_pre and transformer.resblocks.
        x: tokens with their positions.
        schedule: of the vision side.
        additions: one (n, D) tensor or None per layer.
        changes: of each layer, or none.
        watch: the attention of a layer, and what is run in its place.
        last: what runs the last layer; its output is returned.
    """
    blocks = side.transformer.resblocks
    additions, changes = in_type(additions, x.dtype), layer_change.in_type(changes, x.dtype)
    own, present = x.shape[1], 0
    passes_ln_pre = schedule.place == BEFORE_LN_PRE
    if not passes_ln_pre:
        x = normalise(side.ln_pre, x)
    for layer, (block, new) in enumerate(zip(blocks, additions)):
        step = step_of(new, schedule[layer])
        joins = cast(None | Tensor | Mixed, new_tokens(new))  # images have no tokens of single classes
        x = renew(x, own, present, step.remove, joins)
        present += step.add - step.remove
        if layer == 0 and passes_ln_pre:
            x = normalise(side.ln_pre, x)
        attend = attends(block, new, own)
        attend = attend if watch is None else watch(layer, attend)
        block, change = in_matrices(block, change_of(changes, layer))
        (change,) = drawn([change], x.shape[1], x.shape[0])
        run = last if layer + 1 == len(blocks) else all_tokens
        x = run(block, x, attend, change, slice(own, own + present))
    return x
