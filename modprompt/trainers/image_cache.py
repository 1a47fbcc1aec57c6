"""Test images from disk, decoded, resized and cropped once for all runs on a test set (TEST.IMAGE_CACHE).

They are read in the run's own process, a batch at a time: to start workers takes longer than what is left to do.
"""

from pathlib import Path
from typing import Any, Dict, Iterator, Optional

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from modprompt.clips.as_bytes import StandIn, sent, way_of
from modprompt.storage.opening import Refused
from modprompt.storage.row_file import Rows
from modprompt.trainers.image_file import ImageFile, facts_of

_CPU = torch.device("cpu")


class KeptImages(Dataset[Dict[str, Any]]):
    """Samples of a data set of Dassl's with the bytes of kept images; one that is damaged is decoded again.

    Args:
        file: the images' file.
        rows: what is in it.
    """

    def __init__(self, file: ImageFile, rows: Rows):
        self.steps = file.steps
        self._path, self._rows = file.path, rows
        self._decoded, self._told = file.decoded, False

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Dict[str, Any]:
        return {**facts_of(self._decoded, index), "img": self._image(index)}

    def _image(self, index: int) -> Tensor:
        try:
            return torch.from_numpy(self._rows[index])
        except Refused as error:
            self._refuse(error)
            return torch.from_numpy(self._decoded[index]["img"])

    def _refuse(self, error: Refused) -> None:
        """Have the file made anew by the next that looks for it, and say so once."""
        try:
            tells = self._rows.remove()
        except OSError:  # it may not
            tells = not self._told
        if tells:
            print(f"{self._path} is refused ({error}): such images are decoded again", flush=True)
            self._told = True


class KeptLoader(StandIn):
    """Stands for a loader of test images: the same samples in the same batches, from kept images where that can be.

    They are looked for, and written, when it is iterated over. What else is asked of it, the loader answers.

    Args:
        loader: of images, over a data set in the form of Dassl's.
        folder: where images are kept.
        name: what the file's name begins with.
        device: where the images go; a GPU gets bytes.
    """

    def __init__(self, loader: Any, folder: str, name: str, device: torch.device = _CPU):
        super().__init__(loader)
        self._folder, self._name, self._device = folder, name, device
        self._decoded = sent(loader, device)
        self._can_keep = True

    def __iter__(self) -> Iterator[Any]:
        kept = self._kept()
        if kept is None:
            return iter(self._decoded)
        way = way_of(self.loader.dataset.transform, self._device)
        numbers = kept.steps.tensors if way.last is None else way.numbers
        batches = iter(_loader_like(self.loader, kept, self.loader.pin_memory and way.last is not None))
        return ({**batch, "img": numbers(batch["img"])} for batch in batches)

    def _kept(self) -> Optional[KeptImages]:
        """The kept images; None, after a line, where images are to be decoded."""
        if not self._can_keep:
            return None
        try:
            file = ImageFile(self.loader, Path(self._folder), self._name)  # of the images as they are now
            rows = file.rows()
        except (OSError, ValueError) as error:  # an image that cannot be decoded, too: the run will say it
            lines = str(error).strip().splitlines() or [type(error).__name__]  # of a worker's the last says what
            print(f"Test images are not kept in {self._folder} ({lines[-1][:200]}): each evaluation decodes them")
            self._can_keep = False
            return None
        if rows is None:
            return None
        print(f"Test images of {file.path}")
        return KeptImages(file, rows)


def _loader_like(loader: Any, dataset: KeptImages, pinned: bool) -> Any:
    """A loader over another data set, with the same batches and draws."""
    return DataLoader(
        dataset,
        batch_size=loader.batch_size,
        sampler=loader.sampler,
        pin_memory=pinned,
        drop_last=loader.drop_last,
        generator=loader.generator,
    )


def with_kept_images(loader: Any, folder: str, name: str, device: torch.device = _CPU) -> Any:
    """A loader of test images that keeps them in a folder, if one is named; to a GPU they go as bytes either way."""
    return KeptLoader(loader, folder, name, device) if loader is not None and folder else sent(loader, device)
