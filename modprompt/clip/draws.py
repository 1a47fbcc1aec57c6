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
    """Draw random numbers as the original code of a method does, right after CLIP constructs its image encoder.

    If no random numbers were drawn since the CLIP model was built, the generator is set back to the beginning of its
    construction; else the draws of the construction are made again. If the construction of the model drew nothing, only
    `draw` is called.
    """
    if not _draws(clip_model):
        return draw()
    (found,) = [draw() for place in _constructing(clip_model) if place == _IMAGE_SIDE]
    return found


def draw_prompts_inside(
    clip_model: CLIP, vision: tuple[int, int], text: tuple[int, int]
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Draw the deep prompts of both encoders where the original code of IVLP does: during the construction of CLIP.

    The prompts of layer 0 of the image encoder are drawn after the patch embedding, and those of deeper layers after
    the other parts of the layer; the text encoder has none at layer 0. The distribution is normal with a standard
    deviation of 0.02.

    Args:
        clip_model: the CLIP model.
        vision: the number of tokens and of layers with prompts in the image encoder; a ResNet has none.
        text: the same for the text encoder.

    Returns:
        Prompts (tokens, width) by layer, of the image encoder and of the text encoder.
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
    """Draw the random numbers of the constructor of OpenAI's CLIP, and yield at each place where prompts can be drawn.

    Yields:
        (0 for the image or 1 for the text encoder, layer) after a layer; for layer 0 of the image encoder after the
        patch embedding. _IMAGE_SIDE after the image encoder.
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
    """Repeat the draws of building a CLIP model, for methods whose original code builds a second model."""
    if _draws(clip_model):
        construct({name: value.cpu() for name, value in clip_model.state_dict().items()})
