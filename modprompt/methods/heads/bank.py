"""What heads are built from: the features of the training images, seen once or several times, and of the classes.

Shapes: V views, N training images, C classes, T templates, D joint width, B images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from modprompt.errors import UserError

_ROUNDED = 0.02  # how far apart class features of half precision may be from those of single


def unit(features: Tensor) -> Tensor:
    """Features (..., D) of length 1."""
    return F.normalize(features, dim=-1)


def cosines(image: Tensor, text: Tensor) -> Tensor:
    """Cosines (B, C) of image features (B, D) with class features (C, D), or (B, C, D) of single images; both raw."""
    image, text = unit(image), unit(text)
    return image @ text.t() if text.dim() == 2 else (text @ image[:, :, None])[:, :, 0]


def mean_text(text: Tensor) -> Tensor:
    """Class features (..., C, D), raw: the mean of those (..., C, T, D) of all templates."""
    return text.mean(-2)


def unit_mean_text(text: Tensor) -> Tensor:
    """Class features (..., C, D) of length 1: the direction of the mean of normalised ones (..., C, T, D)."""
    return unit(unit(text).mean(-2))


def are_others(text: Tensor, other: Tensor) -> bool:
    """Whether raw class features (C, D) are those of other classes: further apart than half precision explains."""
    apart = (text - other).norm(dim=-1) / other.norm(dim=-1)
    return bool((apart > _ROUNDED).any())


def images_of(labels: Tensor, classes: int) -> Tensor:
    """How many images each class has (C,), from labels (N,), without waiting for their values."""
    return torch.zeros(classes, dtype=labels.dtype, device=labels.device).index_add_(0, labels, torch.ones_like(labels))


def _told(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(map(str, dict.fromkeys(shapes))) + f" ({len(shapes)} views)"


class Bank(NamedTuple):
    """Features of frozen encoders, float32, on one device.

    Attributes:
        views: of the training images (V, N, D), one view for each pass over them; V is 0 for heads that need none.
        labels: of the images of each view (V, N), in its order.
        text: of the classes (C, T, D); where each image has its own, for the images of the first view (N, C, T, D).
    """

    views: Tensor
    labels: Tensor
    text: Tensor

    @classmethod
    def of(cls, views: Sequence[Tensor], labels: Tensor | Sequence[Tensor], text: Tensor) -> "Bank":
        """A bank of single views (N, D), with their labels (N,), or one set of labels for all views.

        Raises:
            UserError: if they do not fit each other.
        """
        if not len(views):
            nothing = torch.empty(0, 0, dtype=torch.int64, device=text.device)
            return cls(text.new_empty(0, 0, text.shape[-1]).float(), nothing, text.float())
        each = [labels] * len(views) if isinstance(labels, Tensor) else list(labels)
        shapes, of_labels = ([tuple(one.shape) for one in some] for some in (views, each))
        wanted = [(len(views[0]), text.shape[-1])] * len(views)
        if shapes != wanted or of_labels != [shape[:1] for shape in wanted] or not len(views[0]):
            fit = f"labels are {_told(of_labels)}, class features {tuple(text.shape)}"
            raise UserError(f"views are {_told(shapes)}, but {fit}")
        whole, own = torch.stack(list(views)).float(), torch.stack(each)
        if not 0 <= int(own.min()) <= int(own.max()) < text.shape[-3]:
            raise UserError(f"a label of the bank belongs to none of the {text.shape[-3]} classes")
        return cls(whole, own.long().to(text.device), text.float())
