"""Image features in place of images: encoded once, and given in batches as a loader gives images."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm


class FeatureBatches:
    """Replaces a loader: batches of image features (B, E) under "img", with their labels (B,).

    They are pinned if the loader's own are.
    """

    def __init__(self, features: Tensor, labels: Tensor, loader: Any):
        if getattr(loader, "pin_memory", False):
            features, labels = features.pin_memory(), labels.pin_memory()
        self.features, self.labels, self.batch_size = features, labels, int(loader.batch_size)

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for start in range(0, len(self.labels), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield {"img": self.features[part], "label": self.labels[part]}


def take_number() -> None:
    """Draw the number that iterating over a loader draws from PyTorch's generator: later draws stay the same."""
    torch.empty((), dtype=torch.int64).random_()


def encode(loader: Any, encode_image: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Features (N, E) of a loader's images, float32, and their labels (N,), on the CPU; copied from a GPU at once."""
    batches = []
    for batch in tqdm(loader, desc="encoding images", disable=None):
        features = encode_image(batch["img"]).to(torch.float32, copy=True)  # a compiled encoder may reuse its memory
        batches.append((features, batch["label"]))
    features, labels = (torch.cat(parts).cpu() for parts in zip(*batches))
    return features, labels
