"""A cache of preprocessed test images for all runs on a test set (TEST.IMAGE_CACHE).

The decoded, resized and cropped images of a test set are stored as one array (N, H, W, 3) in a .npy file. The name of
the file contains a hash of the list of images with their sizes and times, of the preprocessing, and of the first
preprocessed image, because image libraries of different versions decode differently. The array is memory-mapped and
read in the process of the run, since starting worker processes would take longer.
"""

import copy
import hashlib
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import default_collate
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor, functional
from tqdm import tqdm

from modprompt.errors import UserError
from modprompt.io import lock
from modprompt.io.arrays import read_array
from modprompt.io.files import Refused, part_of, remove_parts
from modprompt.io.image_files import rule_of

_SPARE_MIB = 1024  # stay free on the disk


class KeptImages(Dataset[dict[str, Any]]):
    """A data set of cached images, whose batches are bit for bit those of a loader. Call `open` first.

    Args:
        loader: the loader of the images; its data set has the form of Dassl's DatasetWrapper.
        folder: the folder of the cache.
        name: the beginning of the file name.

    Raises:
        Refused: if the transform of the loader is not supported.
        OSError: if an image cannot be read.
    """

    def __init__(self, loader: Any, folder: Path, name: str):
        if type(loader) is not DataLoader or loader.batch_size is None or loader.collate_fn is not default_collate:
            raise Refused("the data loader is not a Dassl data loader")
        dataset: Any = loader.dataset
        self._loader, self._images = loader, dataset.data_source
        steps = list(getattr(dataset.transform, "transforms", ()))
        kinds = [type(step) for step in steps]
        at = kinds.index(ToTensor) if ToTensor in kinds else len(kinds)
        if {*kinds[:at]} - {Resize, CenterCrop} or kinds[at:] not in ([ToTensor], [ToTensor, Normalize]):
            raise Refused(f"the test transform is not supported: {', '.join(kind.__name__ for kind in kinds)}")
        before, self._normalize = steps[:at], steps[at + 1 :]
        self._decoded = copy.copy(dataset)  # gives images as bytes
        self._decoded.transform = Compose([*before, np.array])
        first = dict(self._decoded[0])
        self._first: np.ndarray = first.pop("img", np.empty(0))
        if first != self._facts(0) or self._first.dtype != np.uint8:
            raise Refused("the samples of the data set have different fields than the samples of Dassl data sets")
        self._made = (
            f"{before} {rule_of(self._decoded.cfg)} Pillow {PIL.__version__} torchvision {torchvision.__version__}"
        )
        self.path = folder / f"{name}_{self._digest()}.npy"

    def _digest(self) -> str:
        digest = hashlib.sha256(repr((self._made, len(self), self._first.shape)).encode())
        for path in (image.impath for image in self._images):
            status = os.stat(path)  # without the inode, which some network file systems change at each mount
            text = f"{path}\t{status.st_size}\t{status.st_mtime_ns}\t{status.st_ctime_ns}\n"
            digest.update(text.encode("utf-8", "surrogatepass"))
        return hashlib.sha256(digest.digest() + self._first.tobytes()).hexdigest()[:16]

    def _facts(self, index: int) -> dict[str, Any]:
        item = self._images[index]
        return {"label": item.label, "domain": item.domain, "impath": item.impath, "index": index}

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self._facts(index), "img": torch.from_numpy(np.array(self.rows[index]))}

    def collated(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a batch of samples whose images (B, 3, H, W) are converted by ToTensor and Normalize."""
        batch: dict[str, Any] = default_collate(samples)
        images = batch["img"].permute(0, 3, 1, 2)
        made = torch.empty(images.shape).copy_(images).div_(255)
        for step in self._normalize:
            made = functional.normalize(made, step.mean, step.std, inplace=True)
        return {**batch, "img": made}

    def open(self) -> None:
        """Map the file of the cache into memory; write the file first if it does not exist.

        Raises:
            UserError: if another process is writing the file.
            OSError: if the file cannot be written, or an image cannot be read.
            ValueError: if an image is damaged, or the disk has too little space.
        """
        if self._is_mapped():
            return
        lock_file = self.path.with_name(f".{self.path.name}.lock")
        with lock.alone(lock_file, f"another process is writing {self.path.name}", 0.2) as works:
            if not self._is_mapped():  # perhaps written in this moment
                if works:
                    remove_parts(self.path.parent, self.path.name)  # of killed writers
                self._write()
                self.rows = read_array(self.path, maps=True)

    def _is_mapped(self) -> bool:
        try:
            self.rows = read_array(self.path, maps=True)
            if self.rows.dtype == np.uint8 and self.rows.shape == (len(self), *self._first.shape):
                return True
            said = f"{self.path} has the unexpected type {self.rows.dtype} or shape {self.rows.shape}"
        except FileNotFoundError:
            return False
        except UserError as error:
            said = str(error)
        print(
            "The cache of decoded test images cannot be used, so the image files are decoded again. Reason: "
            f"{said.rstrip('.')}."
        )
        return False

    def _write(self) -> None:
        shape = (len(self), *self._first.shape)
        mib, free_mib = (n / 2**20 for n in (math.prod(shape), shutil.disk_usage(self.path.parent).free))
        if mib + _SPARE_MIB > free_mib:
            raise Refused(
                f"the cache needs {mib:,.1f} MiB and must leave {_SPARE_MIB:,} MiB free, but only {free_mib:,.1f} MiB "
                "are free"
            )
        print(f"Decoding {len(self):,} test images into the cache {self.path} ({mib:,.1f} MiB).")
        decoding = DataLoader(
            self._decoded,
            batch_size=self._loader.batch_size,
            num_workers=self._loader.num_workers,
            collate_fn=_stacked,
            multiprocessing_context=self._loader.multiprocessing_context,
            generator=torch.Generator(),  # nothing is drawn from the run's
        )
        with part_of(self.path) as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for block in tqdm(decoding, desc="decoding test images", disable=None):
                if block.shape[1:] != shape[1:]:
                    raise Refused("the test transform returns images of different sizes")
                file.write(block.numpy().data)
            if self._digest() not in self.path.name:
                raise Refused("images changed while they were decoded")


def _stacked(samples: list[dict[str, Any]]) -> Tensor:
    return torch.from_numpy(np.stack([sample["img"] for sample in samples]))


class KeptLoader:
    """Replaces a loader of test images and returns the same batches, made from cached images if possible.

    The cache is looked for, and written, when the loader is iterated over for the first time. The image files are
    examined only then. All other attributes are those of the loader.
    """

    _can_keep = True
    _images: KeptImages | None = None

    def __init__(self, loader: Any, folder: str, name: str):
        self.loader, self._folder, self._name = loader, folder, name

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # a copy has none yet
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Any]:
        own = self.loader
        if self._images is None and self._can_keep:
            self._images = self._cached()
        if self._images is None:
            return iter(own)
        kept = self._images
        same = {"sampler": own.sampler, "drop_last": own.drop_last, "generator": own.generator}  # batches and draws
        return iter(DataLoader(kept, own.batch_size, collate_fn=kept.collated, pin_memory=own.pin_memory, **same))

    def _cached(self) -> KeptImages | None:
        """Return the cached images; print a message and return None if they cannot be used."""
        try:
            kept = KeptImages(self.loader, Path(self._folder), self._name)
            kept.open()
            print(f"Using the cached test images in {kept.path}")
            return kept
        except (OSError, ValueError) as error:  # also for an image that cannot be decoded: the run will report it
            self._can_keep = isinstance(error, UserError)  # which others may have written by the next time
            lines = str(error).strip().splitlines() or [type(error).__name__]  # the last line is the worker's message
            print(
                f"Test images are not cached in {self._folder} ({lines[-1][:200].rstrip('.')}), so each evaluation "
                "decodes them again."
            )
            return None


def with_kept_images(loader: Any, folder: str, name: str) -> Any:
    """Return a loader of test images that caches them in a folder, or the given loader if no folder is named."""
    return KeptLoader(loader, folder, name) if loader is not None and folder else loader
