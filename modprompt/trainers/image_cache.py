"""Test images decoded, resized and cropped once for all runs on a test set, and read from disk (TEST.IMAGE_CACHE).

A test set's images are in one file, as they are just before they become tensors. It is identified by the list of images
with their labels, sizes and times, by how they are made, and by the packages that make them: if one of these changes,
another file is made. One process writes it under another name first; others go on without it. It is read in the run's
own process, a batch at a time: starting workers would take longer than the rest of the work.
"""

import contextlib
import copy
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
import torch
import torchvision
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import default_collate
from torchvision import transforms
from torchvision.transforms import functional
from tqdm import tqdm

from modprompt.io import lock
from modprompt.io.arrays import Rows, write_rows
from modprompt.io.atomic import names_of_parts, remove_parts
from modprompt.io.safe_open import Refused
from modprompt.trainers.feature_cache import data_digest

_SPARE = 1 << 30  # bytes that stay free on the disk
_MOMENT_S = 0.2  # whoever removes parts of killed writers holds a lock for less


class Steps(NamedTuple):
    """The parts of a test transform.

    Attributes:
        before: the steps that make images of one size.
        size: that size, (H, W).
        normalize: the step on tensors, if there is one.
    """

    before: list[Any]
    size: tuple[int, int]
    normalize: transforms.Normalize | None

    def tensors(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) from bytes (B, H, W, 3), equal to the bit to ToTensor and Normalize of each image.

        Args:
            images: uint8.
        """
        found = torch.empty((len(images), 3, *self.size)).copy_(images.permute(0, 3, 1, 2)).div_(255)
        if self.normalize is not None:
            functional.normalize(found, self.normalize.mean, self.normalize.std, inplace=True)
        return found


def steps_of(transform: Any) -> Steps:
    """The parts of a test transform.

    Raises:
        Refused: unless it resizes and crops, makes a tensor, and perhaps normalises it.
    """
    steps = list(getattr(transform, "transforms", ()))
    kinds = [type(step) for step in steps]
    if transforms.ToTensor not in kinds:
        raise Refused("the test transform has no ToTensor")
    at = kinds.index(transforms.ToTensor)
    behind = kinds[at + 1 :]
    odd = [kind for kind in kinds[:at] if kind not in (transforms.Resize, transforms.CenterCrop)]
    odd += behind[1:] if behind[:1] == [transforms.Normalize] else behind
    if odd:
        raise Refused(f"the test transform has a step that is not known, {odd[0].__name__}")
    size = getattr(steps[at - 1], "size", None) if at else None
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise Refused("the test transform does not make images of one size")
    return Steps(steps[:at], (int(size[0]), int(size[1])), steps[at + 1] if steps[at + 1 :] else None)


def facts_of(dataset: Any, index: int) -> dict[str, Any]:
    """The entries of a sample of one of Dassl's data sets, besides its image."""
    item = dataset.data_source[index]
    return {"label": item.label, "domain": item.domain, "impath": item.impath, "index": index}


def _stacked(samples: list[dict[str, Any]]) -> Tensor:
    return torch.from_numpy(np.stack([sample["img"] for sample in samples]))


class ImageFile:
    """The file of a loader's images.

    Args:
        loader: of images, over a data set in Dassl's form; its workers decode.
        folder: where the file is or will be.
        name: the beginning of its name.

    Raises:
        Refused: if the images are made in an unknown way.
        OSError: if an image cannot be read.
    """

    def __init__(self, loader: Any, folder: Path, name: str):
        if type(loader) is not DataLoader or loader.batch_size is None or loader.collate_fn is not default_collate:
            raise Refused("the loader is not one of Dassl's")
        images: Any = loader.dataset
        self._loader, self._images = loader, images
        self.steps = steps_of(self._images.transform)
        self.decoded = copy.copy(self._images)  # gives images as bytes
        self.decoded.transform = transforms.Compose([*self.steps.before, np.array])
        self._kind = np.dtype((np.uint8, (*self.steps.size, 3)))
        self._stands_for = self._digest()
        self.path = folder / f"{name}_{self._stands_for}.images"
        self._first = self._decode_first()

    def _digest(self) -> str:
        made = f"RGB {self.steps.before!r} Pillow {PIL.__version__} torchvision {torchvision.__version__} {self._kind}"
        return data_digest(self._images, made)

    def _decode_first(self) -> np.ndarray:
        """The first image: it shows what no key does, such as another build of a codec or another kind of data set."""
        sample = dict(self.decoded[0])
        image = sample.pop("img", None)
        if not isinstance(image, np.ndarray) or (image.shape, image.dtype) != (self._kind.shape, np.uint8):
            raise Refused("the data set does not give images as its transform makes them")
        if sample != facts_of(self.decoded, 0):
            raise Refused("the data set gives other things with its images than Dassl's does")
        return image

    def rows(self) -> Rows | None:
        """The images, written now if need be; None, with a message, while another process writes them.

        Raises:
            OSError: if the file cannot be written, or an image cannot be read.
            ValueError: as OSError, or if the disk has too little space.
        """
        try:
            return self._open()
        except FileNotFoundError:
            pass
        except ValueError as error:
            fault = str(error).replace(f"{self.path} ", "")
            print(f"{self.path} is refused ({fault}): the images are decoded again")
        self._clear_away()
        with _held(self.path) as mine:
            if not mine:
                print(f"Another process writes {self.path}: test images are decoded meanwhile")
                return None
            with contextlib.suppress(FileNotFoundError, ValueError):
                return self._open()  # another one has just written it
            self._write()
        return self._open()

    def _open(self) -> Rows:
        found = Rows(self.path, self._kind, self._stands_for)
        if not np.array_equal(found[0], self._first):
            raise Refused("its first image differs from the one decoded here")
        return found

    def _write(self) -> None:
        number = len(self._images)
        size, free = number * self._kind.itemsize, shutil.disk_usage(str(self.path.parent)).free
        if size + _SPARE > free:
            raise Refused(f"they need {_text(size)}, and {_text(free)} are free there")
        print(f"{number:,} test images are decoded once, into {self.path}: {_text(size)}")
        write_rows(self.path, self._kind, number, self._blocks(), self._stands_for)

    def _blocks(self) -> Iterator[np.ndarray]:
        """All images, block by block, uint8 (number, H, W, 3). Nothing is drawn from the run's generators."""
        decoding = DataLoader(
            self.decoded,
            batch_size=self._loader.batch_size,
            num_workers=self._loader.num_workers,
            collate_fn=_stacked,
            multiprocessing_context=self._loader.multiprocessing_context,
            generator=torch.Generator(),
        )
        for block in tqdm(decoding, desc="decoding test images", disable=None):
            yield block.numpy()
        if self._digest() != self._stands_for:
            raise Refused("images were changed while they were decoded")

    def _clear_away(self) -> None:
        """Remove what killed writers left of any file of the folder."""
        for name in names_of_parts(self.path.parent):
            with _held(self.path.with_name(name)) as mine:
                if mine:
                    remove_parts(self.path.parent, {name})


@contextlib.contextmanager
def _held(path: Path) -> Iterator[bool]:
    """In this context: whether this process holds the lock to write a file."""
    held = lock.take(path.with_name(f".{path.name}.lock"), _MOMENT_S)
    try:
        if held is not None and not held.works:
            raise Refused(lock.NO_LOCKS)
        yield held is not None
    finally:
        if held is not None:
            held.release()


def _text(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


class KeptImages(Dataset[dict[str, Any]]):
    """Samples of one of Dassl's data sets with the bytes of kept images; a damaged one is decoded again.

    Args:
        file: the images' file.
        rows: its content.
    """

    def __init__(self, file: ImageFile, rows: Rows):
        self.steps = file.steps
        self._path, self._rows = file.path, rows
        self._decoded, self._told = file.decoded, False

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            image = self._rows[index]
        except Refused as error:
            self._refuse(error)
            image = self._decoded[index]["img"]
        return {**facts_of(self._decoded, index), "img": torch.from_numpy(image)}

    def collated(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch of samples, its images (B, 3, H, W) as the transform makes them."""
        batch: dict[str, Any] = default_collate(samples)
        return {**batch, "img": self.steps.tensors(batch["img"])}

    def _refuse(self, error: Refused) -> None:
        """Delete the file, so that the next run makes it anew, and say so once."""
        with contextlib.suppress(OSError):  # it is gone, or cannot be deleted
            os.unlink(str(self._path))
        if not self._told:
            print(f"{self._path} is refused ({error}): such images are decoded again", flush=True)
            self._told = True


class KeptLoader:
    """Replaces a loader of test images: the same samples in the same batches, from kept images if possible.

    They are looked for, and written, when it is iterated over. All other attributes are the loader's.

    Args:
        loader: of images, over a data set in Dassl's form.
        folder: where images are kept.
        name: the beginning of the file's name.
    """

    def __init__(self, loader: Any, folder: str, name: str):
        self.loader = loader
        self._folder, self._name = folder, name
        self._can_keep = True

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # a copy has none yet
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Any]:
        kept = self._kept()
        if kept is None:
            return iter(self.loader)
        batches = DataLoader(  # with the same batches and draws
            kept,
            batch_size=self.loader.batch_size,
            sampler=self.loader.sampler,
            collate_fn=kept.collated,
            pin_memory=self.loader.pin_memory,
            drop_last=self.loader.drop_last,
            generator=self.loader.generator,
        )
        return iter(batches)

    def _kept(self) -> KeptImages | None:
        """The kept images; None, after a message, if images have to be decoded."""
        if not self._can_keep:
            return None
        try:
            file = ImageFile(self.loader, Path(self._folder), self._name)  # of the images as they are now
            rows = file.rows()
        except (OSError, ValueError) as error:  # also for an image that cannot be decoded: the run will report it
            lines = str(error).strip().splitlines() or [type(error).__name__]  # a worker's last line says it
            print(f"Test images are not kept in {self._folder} ({lines[-1][:200]}): each evaluation decodes them")
            self._can_keep = False
            return None
        if rows is None:
            return None
        print(f"Test images of {file.path}")
        return KeptImages(file, rows)


def with_kept_images(loader: Any, folder: str, name: str) -> Any:
    """A loader of test images that keeps them in a folder, if one is named."""
    return KeptLoader(loader, folder, name) if loader is not None and folder else loader
