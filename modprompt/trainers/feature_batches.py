"""Image features in the place of images: batches of features, and the encoding of a loader's images."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm


class FeatureBatches:
    """Replaces a loader of images: each batch has image features (B, E) under "img", and labels (B,).

    The features are in pinned memory if the batches of the loader are.
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
    """Draw one random number, as a pass over a data loader does, so that later random numbers are equal."""
    torch.empty((), dtype=torch.int64).random_()


def encode(loader: Any, encode_image: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return the features (N, E) of a loader's images, float32, and their labels (N,), both on the CPU."""
    batches = []
    for batch in tqdm(loader, desc="encoding images", disable=None):
        features = encode_image(batch["img"]).to(torch.float32, copy=True)  # a compiled encoder may reuse its memory
        batches.append((features, batch["label"]))
    features, labels = (torch.cat(parts).cpu() for parts in zip(*batches))
    return features, labels
