"""What a few-shot list is drawn from: any list of images, with `find` and `sizes` as FolderImages has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from modprompt.data.folder_images import FolderImages
from modprompt.data.images import Image, relative
from modprompt.io.images import by_label


class Pool(Protocol):
    """Images that can be looked up."""

    def find(self, name: str) -> Image | None:
        """The image of this path below the image folder."""

    def sizes(self) -> Mapping[int, int]:
        """{label: number of its images}."""


class _ListPool:
    def __init__(self, images: Sequence[Image], image_dir: Path) -> None:
        self._images = images
        self._image_dir = image_dir

    @cached_property
    def _by_name(self) -> dict[str, Image]:
        return {relative(image, self._image_dir): image for image in self._images}

    def find(self, name: str) -> Image | None:
        return self._by_name.get(name)

    def sizes(self) -> Mapping[int, int]:
        return Counter(image.label for image in self._images)


def pool_of(images: Sequence[Image], image_dir: Path) -> Pool:
    """A list of images as a pool."""
    return images if isinstance(images, FolderImages) else _ListPool(images, image_dir)


def groups_of(images: Sequence[Image]) -> Mapping[int, Sequence[Image]]:
    """{label: its images}, labels in order of first appearance."""
    return images.groups() if isinstance(images, FolderImages) else by_label(images)
