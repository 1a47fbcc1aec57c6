"""Image features on disk, so that a sweep of text-side methods encodes a test set once.

A file is known by the weights of the image side, the type they multiply in, the transform, and the list of images with
their sizes and times; whatever of these changes makes another file.
"""

import hashlib
import os
from pathlib import Path
from typing import Tuple

import torch
from tqdm import tqdm

from modprompt.errors import UserError
from modprompt.files import read_arrays, write_arrays


def weights_digest(visual) -> str:
    """Sixteen hex digits of all weights of an image side."""
    digest = hashlib.sha256()
    for name, tensor in sorted(visual.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def data_digest(dataset) -> str:
    """Sixteen hex digits of a loader's data set: its images, their labels, and what is done to them."""
    digest = hashlib.sha256(repr(dataset.transform).encode())
    for item in dataset.data_source:
        facts = os.stat(item.impath)
        digest.update(f"{item.impath} {item.label} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


class FeatureBatches:
    """Stands for a loader: batches of image features (B, E) under "img", with their labels (B,)."""

    def __init__(self, features, labels, batch_size):
        self.features, self.labels, self.batch_size = features, labels, batch_size

    def __len__(self):
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self):
        for start in range(0, len(self.labels), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield {"img": self.features[part], "label": self.labels[part]}


def encode(loader, encode_image) -> Tuple[torch.Tensor, torch.Tensor]:
    """Features (N, E) of a loader's images, float32, and their labels (N,), on the CPU."""
    batches = [
        (encode_image(batch["img"]).float().cpu(), batch["label"]) for batch in tqdm(loader, desc="encoding images")
    ]
    features, labels = (torch.cat(parts) for parts in zip(*batches))
    return features, labels


def _read(path: Path):
    try:
        return tuple(map(torch.from_numpy, read_arrays(path, "features", "labels")))
    except FileNotFoundError:
        return None
    except UserError:
        print(f"{path} is damaged: the images are encoded again")
        return None


def feature_batches(folder, name, loader, visual, encode_image) -> FeatureBatches:
    """The features of a loader's images, from disk or encoded now.

    Args:
        folder: where features are kept.
        name: what the file's name begins with.
        loader: a loader of images in their order.
        visual: the image side of the CLIP.
        encode_image: gives features (B, E) for images (B, 3, H, W) on the CPU.
    """
    path = Path(folder) / f"{name}_{weights_digest(visual)}_{data_digest(loader.dataset)}.npz"
    found = _read(path)
    if found is None:
        found = encode(loader, encode_image)
        write_arrays(path, features=found[0].numpy(), labels=found[1].numpy())
        print(f"Image features kept in {path}")
    else:
        print(f"Image features of {path}")
    return FeatureBatches(*found, loader.batch_size)
