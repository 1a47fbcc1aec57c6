"""Image features on disk, so that a sweep of text-side methods encodes a test set once.

A file is known by the weights of the image side, the types they multiply and are summed in, the kind of device, the
transform, and the list of images with their sizes and times; whatever of these changes makes another file. It is used
if it is the one that was written for just these, hash and all; otherwise the images are encoded again.
"""

import hashlib
import os
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from modprompt.clips.fingerprint import shape_of_side
from modprompt.engine.precision import autocast_type
from modprompt.storage.image_files import rule_of_run
from modprompt.storage.image_rules import FAMILY
from modprompt.storage.row_file import ANY, Rows, write_rows


def how_computed(device: torch.device, stream: Optional[torch.dtype]) -> str:
    """What the types of the weights do not show: fp16 and amp have the same, but not the same features.

    It is empty for a CPU without a stream type, for which files of earlier versions still serve.
    """
    facts = ("" if device.type == "cpu" else device.type, stream, autocast_type(device))
    return " ".join(str(fact) for fact in facts if fact)


def weights_digest(visual: nn.Module, how: str = "") -> str:
    """Sixteen hex digits of all weights of an image side, and of what they do not show; `how` it is computed, too."""
    activations, heads = shape_of_side(visual)
    digest = hashlib.sha256(f"{sorted(activations)} {heads}{how and ' '}{how}".encode())
    for name, tensor in sorted(visual.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def data_digest(dataset: Any, made: str = "") -> str:
    """Sixteen hex digits of a loader's data set: its images, their labels, and what is done to them.

    Args:
        dataset: the data set.
        made: what is done to them; without it the whole transform.
    """
    digest = hashlib.sha256(read_too(made or repr(dataset.transform)).encode())
    for item in dataset.data_source:
        facts = os.stat(item.impath)
        digest.update(
            f"{item.impath} {item.label} {facts.st_size} {facts.st_mtime_ns}\n".encode("utf-8", "surrogatepass")
        )
    return digest.hexdigest()[:16]


def read_too(made: str) -> str:
    """What is done to images, with the rule that they are read by, unless that is the family's, which all once were."""
    rule = rule_of_run()
    return made if rule == FAMILY else f"{made} read as {rule}"


class FeatureBatches:
    """Stands for a loader: batches of image features (B, E) under "img", with their labels (B,).

    Like the loader's own they are pinned, where that is.
    """

    def __init__(self, features: Tensor, labels: Tensor, loader: Any):
        if getattr(loader, "pin_memory", False):
            features, labels = features.pin_memory(), labels.pin_memory()
        self.features, self.labels, self.batch_size = features, labels, int(loader.batch_size)

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self) -> Iterator[Dict[str, Tensor]]:
        for start in range(0, len(self.labels), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield {"img": self.features[part], "label": self.labels[part]}


def take_number() -> None:
    """Take from PyTorch's generator the number that a loader takes when it is iterated over: later draws stay."""
    torch.empty((), dtype=torch.int64).random_()


def encode(loader: Any, encode_image: Callable[[Tensor], Tensor]) -> Tuple[Tensor, Tensor]:
    """Features (N, E) of a loader's images, float32, and their labels (N,), on the CPU; from a card in one copy."""
    batches = []
    for batch in tqdm(loader, desc="encoding images"):
        features = encode_image(batch["img"]).to(torch.float32, copy=True)  # a compiled encoder may reuse its memory
        batches.append((features, batch["label"]))
    features, labels = (torch.cat(parts).cpu() for parts in zip(*batches))
    return features, labels


def feature_batches(
    folder: str, name: str, loader: Any, visual: nn.Module, encode_image: Callable[[Tensor], Tensor], how: str = ""
) -> FeatureBatches:
    """The features of a loader's images, from disk or encoded now, in float32.

    Args:
        folder: where features are kept.
        name: what the file's name begins with.
        loader: a loader of images in their order.
        visual: the image side of the CLIP.
        encode_image: gives features (B, E) for images (B, 3, H, W) on the CPU.
        how: what how_computed says.
    """
    stands_for = f"{weights_digest(visual, how)}_{data_digest(loader.dataset)}"
    path = Path(folder) / f"{name}_{stands_for}.npz"
    labels = torch.tensor([item.label for item in loader.dataset.data_source])
    try:
        found = torch.from_numpy(Rows(path, np.float32, (len(labels), ANY), stands_for).all())
    except FileNotFoundError:
        pass
    except ValueError as error:  # Refused and UserError are
        fault = str(error).replace(f"{path} ", "")
        print(f"{path} does not fit the images ({fault}): the images are encoded again")
    else:
        print(f"Image features of {path}")
        take_number()
        return FeatureBatches(found, labels, loader)
    features, labels = encode(loader, encode_image)
    write_rows(path, np.float32, tuple(features.shape), [features.numpy()], stands_for)
    print(f"Image features kept in {path}")
    return FeatureBatches(features, labels, loader)
