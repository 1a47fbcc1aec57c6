"""What a head is fitted on in each epoch. Encoders are frozen, so an epoch is batches of features and labels.

Shapes: B images, V views, N training images, D joint width.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modprompt.methods.heads.bank import Bank

Batch = dict[str, Tensor]  # features (B, D) under "img", labels (B,) under "label", as loaders have them


class FreshViews:
    """A new view of the images in every epoch, encoded batch by batch; or some views, kept and used in turn.

    Args:
        loader: of images (B, 3, H, W) under "img" and labels (B,) under "label".
        encode: raw features (B, D) of images.
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
        if self.views and self.epoch > self.views:
            batches: Any = iter(self.kept[(self.epoch - 1) % self.views])
        else:
            batches = self._encoded()
        return ({"img": features, "label": labels} for features, labels in batches)

    def _encoded(self) -> Iterator[tuple[Tensor, Tensor]]:
        view: list[tuple[Tensor, Tensor]] = []
        for batch in self.loader:
            view.append((self.encode(batch["img"]), batch["label"]))
            yield view[-1]
            if not self.views:
                view.clear()
        if self.views:
            self.kept.append(view)


class WholeView:
    """The bank's first view in one batch, in every epoch."""

    def __init__(self, bank: Bank):
        self.bank = bank

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Batch]:
        yield {"img": self.bank.views[0], "label": self.bank.labels[0]}


class PermutedViews:
    """All views of the bank as one list of images; each epoch uses as many as one view has, newly permuted.

    The permutation is NumPy's: `argsort(rand(V N))`, of which the first floor(N / batch) batches are used (CLAP's
    reference, arXiv 2312.12730); if there are fewer images than `batch`, one smaller batch.

    Args:
        features: (V N, D).
        labels: (V N,).
        images: how many make an epoch, N.
        batch: images of a batch.
    """

    def __init__(self, features: Tensor, labels: Tensor, images: int, batch: int):
        self.features, self.labels, self.batch = features, labels, batch
        self.batches = max(images // batch, 1)

    @classmethod
    def of(cls, bank: Bank, size: int) -> "PermutedViews":
        """All views of a bank, in batches of `size` images."""
        return cls(bank.views.flatten(0, 1), bank.labels.flatten(), bank.views.shape[1], size)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Batch]:
        order = torch.from_numpy(np.argsort(np.random.rand(len(self.labels)))).to(self.labels.device)
        for number in range(self.batches):
            picked = order[number * self.batch : (number + 1) * self.batch]
            yield {"img": self.features[picked], "label": self.labels[picked]}
