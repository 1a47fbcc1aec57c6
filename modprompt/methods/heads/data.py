"""What heads are built from and fitted on: features of images, seen once or several times by frozen encoders.

Shapes: V views, N training images, C classes, T templates, D joint width, B images.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modprompt.errors import UserError

_ROUNDED = 0.02  # how far apart class features of half precision may be from those of single
Batch = dict[str, Tensor]  # features (B, D) under "img", labels (B,) under "label", as loaders have them


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
            raise UserError(f"views are {shapes}, but labels are {of_labels}, class features {tuple(text.shape)}")
        whole, own = torch.stack(list(views)).float(), torch.stack(each)
        if not 0 <= int(own.min()) <= int(own.max()) < text.shape[-3]:
            raise UserError(f"a label of the bank belongs to none of the {text.shape[-3]} classes")
        return cls(whole, own.long().to(text.device), text.float())


class FreshViews:
    """A new view of the images in every epoch, encoded batch by batch; or some views, kept and used in turn.

    Args:
        loader: of images (B, 3, H, W) under "img" and labels (B,) under "label".
        encode: raw features (B, D) of images; it needs no gradients.
        views: how many are kept; 0 for a new one in every epoch.

    Attributes:
        kept: the views so far, each as its batches in order.
        epoch: how many epochs have begun.
    """

    def __init__(self, loader: Any, encode: Callable[[Tensor], Tensor], views: int = 0):
        self.loader, self.encode, self.views = loader, encode, views
        self.kept: list[list[tuple[Tensor, Tensor]]] = []
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        self.epoch += 1
        again = self.views and self.epoch > self.views
        batches = self.kept[(self.epoch - 1) % self.views] if again else self._encoded()
        return ({"img": features, "label": labels} for features, labels in batches)

    def _encoded(self) -> Iterator[tuple[Tensor, Tensor]]:
        view: list[tuple[Tensor, Tensor]] = []
        for batch in self.loader:
            with torch.no_grad():
                encoded = self.encode(batch["img"]), batch["label"]
            if self.views:
                view.append(encoded)
            yield encoded
        if self.views:
            self.kept.append(view)


class PermutedViews:
    """All views of a bank as one list of images; each epoch uses as many as one view has, newly permuted.

    The permutation is NumPy's: `argsort(rand(V N))`, of which the first floor(N / batch) batches are used (CLAP's
    reference, arXiv 2312.12730); if there are fewer images than `batch`, one smaller batch.

    Args:
        bank: of the training images.
        batch: images of a batch.
    """

    def __init__(self, bank: Bank, batch: int):
        self.features, self.labels, self.batch = bank.views.flatten(0, 1), bank.labels.flatten(), batch
        self.batches = max(bank.views.shape[1] // batch, 1)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Batch]:
        order = torch.from_numpy(np.argsort(np.random.rand(len(self.labels)))).to(self.labels.device)
        for picked in order.split(self.batch)[: self.batches]:
            yield {"img": self.features[picked], "label": self.labels[picked]}
