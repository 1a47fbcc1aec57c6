"""Random numbers that the constructor of OpenAI's CLIP draws, which the original code of some methods depends on."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from modprompt.clip.build import DRAWN, construct
from modprompt.clip.towers import CLIP, TowerCLIP, prompted_image, prompted_text


def _draws(clip_model: CLIP) -> bool:
    return not isinstance(clip_model, TowerCLIP) and clip_model.__dict__.get(DRAWN, ()) is not None


def draw_inside(clip_model: CLIP, draw: Callable[[], Tensor]) -> Tensor:
    """What `draw` gives where the reference calls it: inside the constructor of a CLIP, after its image side's.

    If nothing was drawn since this CLIP was built, its constructor's draws are repeated from where they began; else
    they are drawn anew. A CLIP that drew nothing still does not.
    """
    if not _draws(clip_model):
        return draw()
    (found,) = [draw() for place in _constructing(clip_model) if place == _IMAGE_SIDE]
    return found


def draw_prompts_inside(
    clip_model: CLIP, vision: tuple[int, int], text: tuple[int, int]
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Deep prompts of both sides, by layer, drawn where IVLP's reference does: inside the constructor of a CLIP.

    Those of the vision side's layer 0 are drawn after the patch embedding's weight, those of a deeper layer after the
    layer's other parts; the text side has none at layer 0. Normal, std 0.02. For a CLIP that drew nothing as
    draw_inside, one side after the other. `vision` and `text`: (tokens, layers) of that side; a ResNet has none.
    """
    sides = prompted_image(clip_model.visual), prompted_text(clip_model)
    found: tuple[dict[int, Tensor], dict[int, Tensor]] = {}, {}
    if sides[0] is None and _draws(clip_model):  # a ResNet
        draw_constructor(clip_model)
        return found
    counts = [len(one.transformer.resblocks) if one else 0 for one in sides]
    every = [(side, layer) for side, count in enumerate(counts) for layer in range(count)]
    for side, layer in _constructing(clip_model) if _draws(clip_model) else every:
        tokens, depth = (vision, text)[side]
        if layer < depth and (side, layer) not in ((1, 0), _IMAGE_SIDE):
            width = int((sides[0].conv1.weight if side == 0 else sides[1].ln_final.weight).shape[0])
            found[side][layer] = nn.init.normal_(torch.empty(tokens, width), std=0.02)
    return found


_IMAGE_SIDE = (0, -1)


def _constructing(clip_model: CLIP) -> Iterator[tuple[int, int]]:
    """Draw what the constructor of OpenAI's CLIP draws for the sizes of this one, in its order, and stop on the way.

    The stops are (0 for the image or 1 for the text side, layer) behind a layer, for layer 0 of the image side behind
    the patch embedding, and _IMAGE_SIDE behind that side.
    """
    before, after = clip_model.__dict__.get(DRAWN, (None, None))
    if after is not None and torch.equal(after, torch.get_rng_state()):
        torch.set_rng_state(before)
    text: Any = clip_model
    visual = text.visual
    width, colours, patch, _ = visual.conv1.weight.shape
    nn.Conv2d(colours, width, patch, bias=False)
    yield 0, 0
    torch.randn(width)
    torch.randn(visual.positional_embedding.shape)
    for layer in range(len(visual.transformer.resblocks)):
        _draw_block(width)
        if layer:
            yield 0, layer
    torch.randn(visual.proj.shape)
    yield _IMAGE_SIDE
    for layer in range(len(text.transformer.resblocks)):
        _draw_block(text.ln_final.weight.shape[0])
        yield 1, layer
    nn.Embedding(*text.token_embedding.weight.shape)
    again = [text.token_embedding.weight, text.positional_embedding]  # initialize_parameters
    for block in text.transformer.resblocks:
        mlp = block.mlp
        again += [block.attn.in_proj_weight, block.attn.out_proj.weight, mlp.c_fc.weight, mlp.c_proj.weight]
    for drawn in (*again, text.text_projection):
        torch.empty(drawn.shape).normal_()


def _draw_block(width: int) -> None:
    nn.MultiheadAttention(width, 1)
    nn.Linear(width, 4 * width)
    nn.Linear(4 * width, width)


def draw_constructor(clip_model: CLIP) -> None:
    """Draw from torch's generator what building this CLIP drew; for methods whose reference builds a second one."""
    if _draws(clip_model):
        construct({name: value.cpu() for name, value in clip_model.state_dict().items()})
