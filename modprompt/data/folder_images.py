"""Images of class folders as a compact list: a million need tens of megabytes, and each is made when asked for."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from modprompt.data.images import Image, file_names
from modprompt.errors import UserError


class Folder(NamedTuple):
    """A class folder: its path below the image folder, with forward slashes, and its images' label and class name."""

    name: str
    label: int
    classname: str


class Names(NamedTuple):
    """File names of class folders, in order.

    runs: (R, 2) int32, a row for consecutive files of one folder: the folder's position, and their number.
    text: the names, each ended by a zero byte.
    """

    runs: np.ndarray
    text: bytes


def pack(names: Iterable[tuple[int, str]]) -> Names:
    """The names from pairs (position of the folder, file name), in that order."""
    runs, texts = [], []
    for place, group in itertools.groupby(names, key=lambda one: one[0]):
        files = [name for _, name in group]
        runs.append((place, len(files)))
        texts.append("\0".join(files) + "\0")
    return Names(np.array(runs, np.int32).reshape(-1, 2), "".join(texts).encode("utf-8", "surrogateescape"))


def require_runs(runs: np.ndarray, n_folders: int) -> None:
    """Raise ValueError unless these are runs of files in so many folders."""
    if runs.ndim != 2 or runs.shape[1] != 2 or runs.dtype != np.int32:
        raise ValueError("its runs of files are malformed")
    if len(runs) and not (runs[:, 0].min() >= 0 and runs[:, 0].max() < n_folders and runs[:, 1].min() > 0):
        raise ValueError("its runs of files belong to other folders")


def require_text(text: bytes, runs: np.ndarray) -> None:
    """Raise ValueError unless these are names of files, as many as the runs say."""
    if text.count(b"\0") != runs[:, 1].sum(dtype=np.int64) or text[-1:] not in (b"", b"\0"):
        raise ValueError("it has more or fewer names than it says")
    marked = b"\0" + text
    if b"/" in text or b"\0." in marked or b"\0\0" in marked:
        raise ValueError("a name in it is not a file's")


class FolderImages(Sequence[Image]):
    """Images of class folders, in order.

    Args:
        image_dir: the image folder.
        folders: the class folders; runs name them by their position.
        runs: (R, 2), as in Names.
        text: returns the names, as in Names; called once, when a name is needed.
    """

    def __init__(self, image_dir: Path, folders: Sequence[Folder], runs: np.ndarray, text: Callable[[], bytes]) -> None:
        self.image_dir = image_dir
        self.folders = folders
        self.runs = runs
        self._load = text
        self._length = int(runs[:, 1].sum(dtype=np.int64))

    @cached_property
    def text(self) -> bytes:
        """The names, each ended by a zero byte."""
        return self._load()

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.flatnonzero(np.frombuffer(self.text, np.uint8) == 0)

    @cached_property
    def _places(self) -> np.ndarray:
        return np.repeat(self.runs[:, 0], self.runs[:, 1])

    def __len__(self) -> int:
        return self._length

    def _files(self) -> Iterator[tuple[Folder, list[str]]]:
        """Each run's folder and names."""
        start = first = 0
        for place, count in self.runs.tolist():
            end, first = int(self._ends[first + count - 1]), first + count
            yield self.folders[place], _decoded(self.text[start:end]).split("\0")
            start = end + 1

    def __iter__(self) -> Iterator[Image]:
        for folder, files in self._files():
            start = os.path.join(self.image_dir, folder.name, "")
            for file in files:
                yield Image(start + file, folder.label, folder.classname)

    @overload
    def __getitem__(self, index: int) -> Image: ...

    @overload
    def __getitem__(self, index: slice) -> Chosen: ...

    def __getitem__(self, index: int | slice) -> Image | Chosen:
        places = range(len(self))[index]
        if isinstance(places, range):
            return Chosen(self, np.array(places))
        folder = self.folders[self._places[places]]
        start = self._ends[places - 1] + 1 if places else 0
        return self._image(folder, _decoded(self.text[start : self._ends[places]]))

    def _image(self, folder: Folder, file: str) -> Image:
        return Image(os.path.join(self.image_dir, folder.name, file), folder.label, folder.classname)

    def groups(self) -> dict[int, Sequence[Image]]:
        """{label: its images}, labels in order of first appearance."""
        labels = np.array([folder.label for folder in self.folders], np.int64)[self._places]
        order = np.argsort(labels, kind="stable")
        known, first, counts = np.unique(labels, return_index=True, return_counts=True)
        groups = np.split(order, np.cumsum(counts)[:-1])
        return {int(known[number]): Chosen(self, groups[number]) for number in np.argsort(first)}

    def sizes(self) -> dict[int, int]:
        """{label: number of its images}, without loading names."""
        sizes: dict[int, int] = {}
        for place, count in self.runs.tolist():
            label = self.folders[place].label
            sizes[label] = sizes.get(label, 0) + count
        return sizes

    def find(self, name: str) -> Image | None:
        """The image of this path below the image folder, if it is there; it looks on the disk, not in the names."""
        folder, _, file = name.rpartition("/")
        known = self._by_name.get(folder)
        if known is None or file.startswith("."):
            return None
        image = self._image(known, file)
        return image if os.path.isfile(image.impath) else None

    @cached_property
    def _by_name(self) -> dict[str, Folder]:
        return {folder.name: folder for folder in self.folders}

    def names(self) -> Iterator[str]:
        """The images' paths below the image folder."""
        return (f"{folder.name}/{file}" for folder, files in self._files() for file in files)

    def by_folder(self) -> dict[str, list[str]]:
        """{folder: its file names, in order}; folders without files are not in it."""
        found: dict[str, list[str]] = {}
        for folder, files in self._files():
            found.setdefault(folder.name, []).extend(files)
        return found

    def in_order_of(self, names: Iterable[str]) -> FolderImages:
        """The images of these paths below the image folder, in this order."""
        places = {folder.name: place for place, folder in enumerate(self.folders)}
        packed = pack((places[name.rpartition("/")[0]], name.rpartition("/")[2]) for name in names)
        return FolderImages(self.image_dir, self.folders, packed.runs, lambda: packed.text)


class Chosen(Sequence[Image]):
    """Some images of a list, by their places in it."""

    def __init__(self, images: FolderImages, places: np.ndarray) -> None:
        self._images = images
        self._of = places

    def __len__(self) -> int:
        return len(self._of)

    @overload
    def __getitem__(self, index: int) -> Image: ...

    @overload
    def __getitem__(self, index: slice) -> Chosen: ...

    def __getitem__(self, index: int | slice) -> Image | Chosen:
        if isinstance(index, slice):
            return Chosen(self._images, self._of[index])
        return self._images[int(self._of[index])]


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def list_folders(image_dir: Path, folders: Sequence[Folder]) -> FolderImages:
    """All images of class folders: folders in their order, files in the system's, hidden ones left out.

    Raises:
        UserError: if a folder cannot be listed.
    """

    def names() -> Iterator[tuple[int, str]]:
        for place, folder in enumerate(folders):
            try:
                files = file_names(image_dir / folder.name)
            except OSError as error:
                raise UserError(f"cannot list {image_dir / folder.name} ({error.strerror})") from None
            for file in files:
                yield place, file

    packed = pack(names())
    return FolderImages(image_dir, folders, packed.runs, lambda: packed.text)
