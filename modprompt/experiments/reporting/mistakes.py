"""The gallery of a report: the images that a method was surest of and wrong, as small pictures inside the page."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.errors import UserError
from modprompt.experiments.reporting.views import Tested
from modprompt.io import pages
from modprompt.io.files import is_inside
from modprompt.io.image_files import FAMILY, read_rgb
from modprompt.io.images import READ_AS
from modprompt.io.run_files import Wrong

MOST = 12  # pictures of a gallery
_SIDE = 128  # pixels of the longer side of a picture
_DEEP = 3  # folders between a data set's own and its images


class Mistake(NamedTuple):
    """A wrong image: its picture as a data address ("" where it is not there), its class, and the predicted one."""

    picture: str
    text: str


class Images:
    """Finds the images that results name, below the folder of all data sets.

    Args:
        data: that folder; None if it is not known.
    """

    def __init__(self, data: Path | None):
        self._data, self._roots = data, dict[str, Path]()

    def find(self, dataset: str, result: dict[str, Any], image: str) -> Path | None:
        """Where an image is.

        Args:
            dataset: as the experiment names it.
            result: of the run that has tested it, whose split file says the data set's folder.
            image: its path below the data set's images.
        """
        if self._data is None or not is_inside(image):
            return None
        known = self._roots.get(dataset)
        if known is not None and (known / image).is_file():
            return known / image
        for folder in self._folders(dataset, result):
            if (folder / image).is_file():
                self._roots[dataset] = folder
                return folder / image
        return None

    def _folders(self, dataset: str, result: dict[str, Any]) -> Iterator[Path]:
        """The data set's folder and those in it, the upper ones first; that of all data sets last."""
        first = [name.partition("/")[0] for name in result.get("files") or () if is_inside(name)]
        assert self._data is not None
        level = [self._data / name for name in dict.fromkeys([*first, dataset]) if (self._data / name).is_dir()]
        for _ in range(_DEEP):
            yield from level
            level = [Path(entry.path) for folder in level for entry in _subfolders(folder)]
        yield self._data  # where one's own images are, next to their few-shot lists


def _subfolders(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return [entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=True)]
    except OSError:
        return []


def worst(tests: Sequence[Tested]) -> list[tuple[Tested, Wrong]]:
    """The mistakes that a method was surest of, of several tests."""
    every = [(one, wrong) for one in tests for wrong in one.wrong if wrong.top]
    return sorted(every, key=lambda pair: -pair[1].probabilities[0])[:MOST]


def gallery(dataset: str, tests: Sequence[Tested], images: Images) -> list[Mistake]:
    """The worst mistakes of a method on a data set.

    Args:
        dataset: as the experiment names it.
        tests: of the method, one for each half of the classes.
        images: where the pictures are.
    """
    found = []
    for one, wrong in worst(tests):
        path = images.find(dataset, one.result, wrong.image)
        text = (
            f"{one.names[wrong.label]} ({100 * wrong.own:.0f}%) taken for {one.names[wrong.top[0]]} "
            f"({100 * wrong.probabilities[0]:.0f}%)"
        )
        found.append(Mistake(_picture(path, one.result) if path else "", text))
    return found


def _picture(path: Path, result: dict[str, Any]) -> str:
    """A small copy as a data address, read as its run read it; "" if it cannot be read."""
    try:
        image = read_rgb(path, (result.get("input") or {}).get(READ_AS, FAMILY))
    except (UserError, OSError):
        return ""
    return data_address(image)


def data_address(image: Any, side: int = _SIDE) -> str:
    """A Pillow image, scaled down if it is larger, as the address of a picture inside a page.

    Args:
        image: in RGB.
        side: pixels of its longer side.
    """
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return pages.data_address(file.getvalue())
