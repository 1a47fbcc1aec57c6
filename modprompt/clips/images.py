"""What is known of a CLIP that is asked for before its weights are read: how it is run, and how its images are made."""

from typing import Dict, Tuple

import torch

from modprompt.clips import known, source
from modprompt.clips.design import Images
from modprompt.clips.dialects import to_openai
from modprompt.clips.measures import measure, pixels, require_agreement, shapes_of
from modprompt.clips.plain import can_assign
from modprompt.clips.reading import dialect_and_shapes, told
from modprompt.clips.settling import Settled, require_settled, settle
from modprompt.clips.source import Asked


def images_of(asked: Asked) -> Images:
    """How its images are made, with their size; nothing is downloaded but what will be read later anyway.

    Raises:
        UserError: as source.find and settling.settle.
    """
    row = None if asked.path else known.find(asked.name)
    if row is not None:
        return row.design.images
    _, shapes, settled = _look(source.find(asked))
    images = settled.design.images
    return images if images.size else images._replace(size=pixels(shapes))


def _look(found: source.Source) -> Tuple[str, Dict[str, Tuple[int, ...]], Settled]:
    """The dialect of weights, the shapes of their tensors by its names, and how they are run."""
    require_settled(found)
    dialect, shapes = dialect_and_shapes(found)
    return dialect, shapes, settle(found, dialect)


def describe(asked: Asked) -> str:
    """What a CLIP is and who says so, in one line.

    Raises:
        UserError: as images_of.
    """
    found = source.find(asked)
    if found.weights is None:
        return f"{found.called}, which ships with the package"
    dialect, shapes, settled = _look(found)
    (text, image), size = settled.design.heads, settled.design.images.size or pixels(shapes)
    if can_assign():
        empty = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        renamed = to_openai(empty, dialect, found.called)
        measured = measure(shapes_of(renamed, found.called), found.called)
        require_agreement(measured, settled.design, found.called, settled.said_by)
    how = f"{settled.design.activation}, {text} and {image} heads (text, image), {size} pixels"
    return f"{found.called}: {told(dialect, settled)} weights, {how}, by {settled.said_by}"
