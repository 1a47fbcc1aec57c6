"""Image features on disk, so that a sweep of text-side methods encodes a test set once.

A file is identified by the weights of the image side, the types in which they multiply and sum, the kind of device, the
transform, and the list of images with their sizes and times: if one of these changes, another file is made. A file is
used if it was written for exactly these and its hash is right; otherwise the images are encoded again.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from modprompt.clip.facts import shape_of_side
from modprompt.clip.towers import ImageTower
from modprompt.engine.precision import autocast_type
from modprompt.io.arrays import Rows, write_rows
from modprompt.io.image_files import FAMILY, rule_of_run


def how_computed(device: torch.device, stream: torch.dtype | None) -> str:
    """What the types of the weights do not show: fp16 and amp have the same types, but other features."""
    facts = ("" if device.type == "cpu" else device.type, stream, autocast_type(device))
    return " ".join(str(fact) for fact in facts if fact)


def weights_digest(visual: nn.Module, how: str = "") -> str:
    """Sixteen hex digits for all weights of an image side, for what they do not show, and for `how` it is computed."""
    activations, heads = shape_of_side(visual)
    digest = hashlib.sha256(f"{sorted(activations)} {heads}{how and ' '}{how}".encode())
    for name, tensor in sorted(visual.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def image_side_digest(trainer: Any) -> str:
    """Sixteen hex digits for the image side of a trainer's CLIP, and for how it is computed.

    A tower's weights do not show how they are run, nor the type of its products: the CLIP's fingerprint and its
    tokenizer do.
    """
    visual, how = trainer.clip_model.visual, how_computed(trainer.device, trainer.model.stream)
    if isinstance(visual, ImageTower):
        run = trainer.run
        how = " ".join(map(str, (how, visual.products, run.fingerprint, *run.tokenizer.values())))
    return weights_digest(visual, how)


def image_digests(images: Sequence[Any]) -> list[str]:
    """Sixteen hex digits for each image's path, size and time."""
    found = []
    for image in images:
        facts = os.stat(image.impath)
        text = f"{image.impath} {facts.st_size} {facts.st_mtime_ns}"
        found.append(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16])
    return found


def data_digest(dataset: Any, made: str = "") -> str:
    """Sixteen hex digits for a loader's data set: its images, their labels, and how they are preprocessed.

    Args:
        dataset: the data set.
        made: how they are preprocessed; if empty, the whole transform.
    """
    images = dataset.data_source
    facts = [read_too(made or repr(dataset.transform)), image_digests(images), [image.label for image in images]]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def read_too(made: str) -> str:
    """How images are preprocessed, with the rule that they are read by unless it is the family's, once the only one."""
    rule = rule_of_run()
    return made if rule == FAMILY else f"{made} read as {rule}"


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


def row_of(width: int) -> np.dtype:
    """The type of a file's row: an image's features, `width` numbers of float32."""
    return np.dtype((np.float32, (width,)))


def feature_batches(folder: str, name: str, loader: Any, trainer: Any) -> FeatureBatches:
    """The features of a loader's images, from disk or encoded now, in float32.

    Args:
        folder: where features are kept.
        name: the beginning of the file's name.
        loader: gives the images in their order.
        trainer: has a CLIP whose image side has no prompts.
    """
    stands_for = f"{image_side_digest(trainer)}_{data_digest(loader.dataset)}"
    path = Path(folder) / f"{name}_{stands_for}.npz"
    try:
        rows = Rows(path, row_of(trainer.run.feature_width), stands_for).all()
    except FileNotFoundError:
        pass
    except ValueError as error:  # Refused and UserError are ValueErrors
        fault = str(error).replace(f"{path} ", "")
        print(f"{path} does not fit the images ({fault}): the images are encoded again")
    else:
        print(f"Image features of {path}")
        take_number()
        labels = torch.tensor([image.label for image in loader.dataset.data_source])
        return FeatureBatches(torch.from_numpy(rows), labels, loader)
    features, labels = encode(loader, trainer.evaluation.encode_image)
    write_rows(path, row_of(features.shape[1]), len(features), [features.numpy()], stands_for)
    print(f"Image features kept in {path}")
    return FeatureBatches(features, labels, loader)
