"""Image features on disk, so that a sweep of text-side methods encodes a test set once.

A file is known by the weights of the image side, the type they multiply in, the transform, and the list of images with
their sizes and times; whatever of these changes makes another file.
"""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm


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


def _read(path: Path):
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return torch.from_numpy(arrays["features"]), torch.from_numpy(arrays["labels"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
        print(f"{path} is damaged: the images are encoded again")
        return None


def _write(path: Path, features, labels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.stem}.{os.getpid()}.part.npz")
    try:
        np.savez(str(aside), features=features.numpy(), labels=labels.numpy())
        os.replace(aside, path)
    finally:
        if aside.exists():
            aside.unlink()


def feature_batches(folder, name, loader, visual, encode) -> FeatureBatches:
    """The features of a loader's images, from disk or encoded now.

    Args:
        folder: where features are kept.
        name: what the file's name begins with.
        loader: a loader of images in their order.
        visual: the image side of the CLIP.
        encode: gives features (B, E) for images (B, 3, H, W) on the CPU.
    """
    path = Path(folder) / f"{name}_{weights_digest(visual)}_{data_digest(loader.dataset)}.npz"
    found = _read(path)
    if found is None:
        batches = [
            (encode(batch["img"]).float().cpu(), batch["label"]) for batch in tqdm(loader, desc="encoding images")
        ]
        found = tuple(torch.cat(parts) for parts in zip(*batches))
        _write(path, *found)
        print(f"Image features kept in {path}")
    else:
        print(f"Image features of {path}")
    return FeatureBatches(*found, loader.batch_size)
