"""A CLIP's shape as its tensors show it, and whether they are complete; names are OpenAI's.

Shapes: D width of a side, E joint width, L positions.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from modprompt.clip.design import ACTIVATIONS, QUICK_GELU, Design
from modprompt.errors import UserError

VOCABULARY, POSITIONS = 49408, 77  # of the tokenizer of every CLIP of the family
STOCK_HEAD = 64  # width of a head in models that the `clip` package builds
STOCK_RATIO = 4  # hidden width of its feed-forward parts, in widths
_RESNET_STRIDE = 32  # pixels of an image for one place of a ResNet's last features
_LAYER = re.compile(r"^(visual\.)?transformer\.resblocks\.(\d+)\.")
Shapes = Mapping[str, tuple[int, ...]]


def _kind(found: Any, where: str) -> UserError:
    return UserError(
        f"{where + ': ' if where else ''}these weights do not make up a CLIP ({found}): check MODEL.BACKBONE"
    )


def shapes_of(state: Mapping[str, Any], where: str) -> dict[str, tuple[int, ...]]:
    """The shapes of a state dict's tensors by name.

    Raises:
        UserError: if a value is not a tensor, or has a type in which no CLIP is saved.
    """
    shapes = {}
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.is_sparse or value.is_quantized:
            raise _kind(f"{name} is not a plain tensor", where)
        counts = name.endswith(".num_batches_tracked")  # of a ResNet's normalisations
        if not counts and str(value.dtype) not in ("torch.float32", "torch.float16", "torch.bfloat16"):
            raise _kind(f"{name} is of {value.dtype}, not float32, float16 or bfloat16", where)
        shapes[name] = tuple(value.shape)
    return shapes


def _layers(shapes: Shapes, side: str, where: str) -> int:
    numbers = {int(match.group(2)) for match in map(_LAYER.match, shapes) if match and (match.group(1) or "") == side}
    lacking = next(number for number in itertools.count() if number not in numbers)
    if lacking < len(numbers):
        raise _kind(f"{side}transformer.resblocks.{lacking} is missing", where)
    return len(numbers)


def measure(shapes: Shapes, where: str) -> dict[str, int]:
    """Numbers that a CLIP's tensors show: layers, widths, hidden widths, patch, embed, pixels.

    A ResNet has no "image layers", "image hidden" and "patch".

    Raises:
        UserError: if they are not all tensors of a CLIP of the stock shape; what is wrong is named.
    """
    found = _measure(shapes, where)
    expected = _expected(found)
    for name, shape in expected.items():
        if name not in shapes:
            raise _kind(f"{name} is missing", where)
        if shapes[name] != shape:
            raise _kind(f"{name} has the shape {shapes[name]}, not {shape}", where)
    odd = [name for name in shapes if name not in expected and not (found["patch"] == 0 and name.startswith("visual."))]
    if odd:
        raise _kind(f"no CLIP of the stock shape has {odd[0]}", where)
    if found["vocabulary"] != VOCABULARY:
        raise _kind(f"its vocabulary has {found['vocabulary']:,} tokens, not CLIP's {VOCABULARY:,}", where)
    if found["positions"] != POSITIONS:
        raise _kind(f"it has {found['positions']:,} positions in a text, not CLIP's {POSITIONS}", where)
    return found


def pixels(shapes: Shapes) -> int:
    """The side of a CLIP's images, by the names of any dialect; 0 if the tensors do not show it."""
    for front in ("visual.", "vision_model.embeddings."):
        rows = shapes.get(f"{front}positional_embedding") or shapes.get(f"{front}position_embedding.weight")
        kernel = shapes.get(f"{front}conv1.weight") or shapes.get(f"{front}patch_embedding.weight")
        if rows and kernel:
            return int(round((rows[0] - 1) ** 0.5)) * kernel[-1]
    rows = shapes.get("visual.attnpool.positional_embedding")
    return int(round((rows[0] - 1) ** 0.5)) * _RESNET_STRIDE if rows else 0


def _measure(shapes: Shapes, where: str) -> dict[str, int]:
    found = {"text layers": _layers(shapes, "", where), "image layers": _layers(shapes, "visual.", where)}
    try:
        found["text width"], found["embed"] = shapes["text_projection"]
        found["text hidden"] = shapes["transformer.resblocks.0.mlp.c_fc.weight"][0]
        found["vocabulary"] = shapes["token_embedding.weight"][0]
        found["positions"] = shapes["positional_embedding"][0]
        found["pixels"] = pixels(shapes)
        if "visual.proj" in shapes:
            found["image width"], found["patch"] = shapes["visual.conv1.weight"][0], shapes["visual.conv1.weight"][-1]
            found["image hidden"] = shapes["visual.transformer.resblocks.0.mlp.c_fc.weight"][0]
        else:
            found.update({"image layers": 0, "image hidden": 0, "patch": 0})
            found["image width"] = shapes["visual.attnpool.positional_embedding"][1]  # of the attention pool
    except KeyError as error:
        raise _kind(f"{error.args[0]} is missing", where) from None
    except (ValueError, IndexError, TypeError):
        raise _kind("its projections are not matrices", where) from None
    return found


def _expected(found: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Shapes by name of the text side and, if it is a vision transformer, of the image side."""
    width = found["text width"]
    expected: dict[str, tuple[int, ...]] = {
        "positional_embedding": (found["positions"], width),
        "text_projection": (width, found["embed"]),
        "logit_scale": (),
        "token_embedding.weight": (found["vocabulary"], width),
        **_blocks("", found["text layers"], width, found["text hidden"], ("ln_final",)),
    }
    if found["patch"]:
        width, patch = found["image width"], found["patch"]
        expected["visual.class_embedding"] = (width,)
        expected["visual.positional_embedding"] = ((found["pixels"] // patch) ** 2 + 1, width)
        expected["visual.proj"] = (width, found["embed"])
        expected["visual.conv1.weight"] = (width, 3, patch, patch)
        norms = ("ln_pre", "ln_post")
        expected.update(_blocks("visual.", found["image layers"], width, found["image hidden"], norms))
    return expected


def _blocks(side: str, layers: int, width: int, hidden: int, norms: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of all parts with a weight and a bias: a side's own normalisations, and the parts of its blocks."""
    block = {
        "attn.in_proj_": (3 * width, width),
        "attn.out_proj.": (width, width),
        "ln_1.": (width,),
        "ln_2.": (width,),
        "mlp.c_fc.": (hidden, width),
        "mlp.c_proj.": (width, hidden),
    }
    parts: dict[str, tuple[int, ...]] = {f"{side}{norm}.": (width,) for norm in norms}
    for layer in range(layers):
        parts.update((f"{side}transformer.resblocks.{layer}.{part}", shape) for part, shape in block.items())
    weights = {f"{part}weight": shape for part, shape in parts.items()}
    return {**weights, **{f"{part}bias": shape[:1] for part, shape in parts.items()}}


def stock_design(found: Mapping[str, int]) -> Design:
    """How the `clip` package runs tensors of this shape: QuickGELU, heads of width 64."""
    return Design(QUICK_GELU, (found["text width"] // STOCK_HEAD, found["image width"] // STOCK_HEAD))


def is_stock(found: Mapping[str, int], design: Design) -> bool:
    """Whether the `clip` package builds exactly this model."""
    stock = stock_design(found)
    ratios = [found["text hidden"] == STOCK_RATIO * found["text width"]]
    ratios += [found["image hidden"] == STOCK_RATIO * found["image width"]] if found["patch"] else []
    return (design.activation, design.heads) == (stock.activation, stock.heads) and all(ratios)


def require_agreement(found: Mapping[str, int], design: Design, where: str, source: str) -> None:
    """Raise UserError if a config, a table or options contradict the tensors.

    Args:
        found: what measure() gave.
        design: what they say.
        where: the weights, for the message.
        source: who says it, for the message.
    """
    if design.activation not in ACTIVATIONS:
        raise UserError(f"{source}: the activation must be {' or '.join(ACTIVATIONS)}, got {design.activation!r}")
    for side, heads in zip(("text", "image"), design.heads):
        width = found[f"{side} width"]
        if heads < 1 or width % heads:
            raise UserError(f"{source}: {heads} heads do not divide the {side} side's width, {width} in {where}")
    said = dict(design.said)
    if design.images.size:
        said["pixels"] = design.images.size
    for name, number in said.items():
        if found.get(name, number) != number:
            raise UserError(f"{source} does not belong to {where}: {name} is {number}, in the weights {found[name]}")
