"""Images go to a GPU as bytes, a quarter of the traffic; there a table gives the numbers that their transform gives.

The table has a row of 256 numbers for each channel, which the transform's own last steps computed on the CPU: a
division by 255 and by the standard deviation would round differently on a GPU. On a CPU nothing is sent, and a
worker's transform is faster.

Shapes: B images of a batch, H x W pixels.
"""

import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from modprompt.clip.load import to_rgb
from modprompt.io.image_rules import as_people

_VALUES, _CHANNELS = 256, 3
_PICTURES = (  # steps from an RGB image to another one
    transforms.Resize, transforms.CenterCrop, transforms.RandomCrop, transforms.RandomResizedCrop,
    transforms.RandomHorizontalFlip, transforms.ColorJitter, transforms.RandomGrayscale,
)  # fmt: skip
_TO_NUMBERS = ([transforms.ToTensor], [transforms.ToTensor, transforms.Normalize])


class Way:
    """How images get to a device.

    Args:
        device: where they go.
        picture: from an RGB image to what is sent: bytes (H, W, 3), or (3, H, W) float32.
        last: if bytes are sent, from an image's bytes to numbers (3, H, W).
    """

    def __init__(self, device: torch.device, picture: Callable[..., Tensor], last: Callable[..., Tensor] | None = None):
        self.device, self.picture, self.last = device, picture, last

    def numbers(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) on the device from a batch of `picture`'s outputs; from pinned memory without waiting."""
        there = images.to(self.device, non_blocking=True)
        if self.last is None:
            return there
        table, rows = self._on_device
        places = there.permute(0, 3, 1, 2).contiguous() + rows
        return table.index_select(0, places.view(-1)).view(places.shape)

    @functools.cached_property
    def _on_device(self) -> tuple[Tensor, Tensor]:
        """The number of each byte, channel after channel (768,), and where each begins (3, 1, 1); sent once."""
        assert self.last is not None
        table = _table(self.last)
        rows = torch.arange(0, table.numel(), _VALUES, dtype=torch.int32).view(-1, 1, 1)
        return table.view(-1).to(self.device), rows.to(self.device)


def way_of(transform: Any, device: torch.device) -> Way:
    """How images of a transform get to a device: as bytes to a GPU, if its last steps work on single bytes.

    Args:
        transform: made of torchvision's steps; the output of any other is sent itself.
        device: where they go.
    """
    steps = list(getattr(transform, "transforms", ()))
    kinds = [type(one) for one in steps]
    at = kinds.index(transforms.ToTensor) if transforms.ToTensor in kinds else 0
    known = all(type(one) in _PICTURES or one in (to_rgb, as_people) for one in steps[:at])
    if device.type != "cuda" or kinds[at:] not in _TO_NUMBERS or not known:
        return Way(device, transform)
    return Way(device, transforms.Compose([*steps[:at], _bytes_of]), transforms.Compose(steps[at:]))


def _bytes_of(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture))


def _table(to_numbers: Callable[[Image.Image], Tensor]) -> Tensor:
    """(3, 256): what a transform makes of an image of one row with all byte values in each channel."""
    row = np.repeat(np.arange(_VALUES, dtype=np.uint8)[None, :, None], _CHANNELS, axis=2)
    return to_numbers(Image.fromarray(row)).view(_CHANNELS, _VALUES)


class StandIn:
    """Replaces a loader: all that it does not do itself is the loader's.

    Args:
        loader: the loader.
    """

    def __init__(self, loader: Any):
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # a copy has none yet
            raise AttributeError(name)
        return getattr(self.loader, name)


class Sent(StandIn):
    """A loader's batches, with the images on the device.

    Args:
        loader: over a data set of the small Dassl.
        way: how its images are sent, as bytes.
    """

    def __init__(self, loader: Any, way: Way):
        super().__init__(loader)
        self._way = way
        self._bytes = copy.copy(loader)  # with its sampler and its generators
        self._bytes.__dict__["dataset"] = loader.dataset.made_by(way.picture)  # setting it is refused

    def __iter__(self) -> Iterator[Any]:
        return ({**batch, "img": self._way.numbers(batch["img"])} for batch in self._bytes)


def sent(loader: Any, device: torch.device) -> Any:
    """A loader whose images go to a device as bytes; if that is not possible, the given one (perhaps None)."""
    dataset: Any = getattr(loader, "dataset", None)
    if not hasattr(dataset, "made_by"):  # no loader, or that of another Dassl
        return loader
    way = way_of(dataset.transform, device)
    return loader if way.last is None else Sent(loader, way)
