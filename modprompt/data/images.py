"""One image of a data set as the readers pass it around, before it becomes a Datum; and folders of them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from dassl.data.datasets import Datum
from dassl.utils import listdir_nohidden
from tqdm import tqdm

from modprompt.checks import counted, some
from modprompt.errors import UserError
from modprompt.io.image_files import has_one_colour_on_white, is_image_name, opened
from modprompt.io.text import is_text
from modprompt.output import say
from modprompt.programs import one_line

UNKNOWN = -1  # the label of an image that nobody has labelled


class Image(NamedTuple):
    """An image file (absolute path), its label and class name. Light: an ImageNet has a million of them."""

    impath: str
    label: int
    classname: str


def by_label(images: Iterable[Any]) -> dict[int, list[Any]]:
    """Return {label: images}, labels in order of first appearance."""
    groups: dict[int, list[Any]] = {}
    for image in images:
        groups.setdefault(image.label, []).append(image)
    return groups


def relatives(images: Iterable[Image], image_dir: Path) -> Iterator[str]:
    """The images' paths below their folder, with forward slashes."""
    folder = f"{image_dir}{os.sep}"
    for path, _, _ in images:
        name = path[len(folder) :] if path.startswith(folder) else os.path.relpath(path, image_dir)
        yield name if os.sep == "/" else name.replace(os.sep, "/")


def _fault(path: str, one_colour: list[str] | None = None) -> str:
    """Return why an image file cannot be decoded, or "". Raise OSError if this machine fails.

    `one_colour` collects the paths of images of which only a single colour remains on a white background.
    """
    try:
        with opened(path) as image:
            image.load()
            if one_colour is not None and has_one_colour_on_white(image):
                one_colour.append(path)
    except (FileNotFoundError, ValueError) as error:  # Refused and UserError are ValueErrors
        return one_line(error)
    return ""


def undecodable(images: Iterable[Image], one_colour: list[str] | None = None) -> list[tuple[str, str]]:
    """Return (path, reason) of the images that cannot be decoded; each file is read once, several at a time.

    `one_colour` collects the paths of images of which only a single colour remains on a white background.
    """
    paths = list(dict.fromkeys(image.impath for image in images))
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata
        done = pool.map(lambda path: _fault(path, one_colour), paths)
        faults = tqdm(done, "Reading images", len(paths), unit="image", disable=None)
        return [(path, fault) for path, fault in zip(paths, faults) if fault]


def require_decodable(images: Iterable[Image], what: str) -> None:
    """Raise UserError if photos cannot be decoded, and report those that lose their content with their transparency."""
    one_colour: list[str] = []
    bad = [f"{path} ({fault})" for path, fault in undecodable(images, one_colour)]
    if one_colour:
        say(
            f"note: {len(one_colour)} images with transparency become a single colour, because transparent pixels are "
            f"replaced by white. The first is {min(one_colour)}. Save such images with a background of another colour."
        )
    if bad:
        raise UserError(
            f"{what} contains {counted(len(bad), 'image')} that cannot be decoded: {some(bad, 3)}. Repair "
            f"or remove {'the image' if len(bad) == 1 else 'these images'}."
        )


def place_of_images(reader: Any, root: Path) -> Path | None:
    """The folder of images of a reader's data set below a root, existing or not; None if the reader does not say."""
    parts = [getattr(reader, name, None) for name in ("dataset_dir", "image_folder")]
    return root.joinpath(*map(str, parts)) if all(isinstance(part, str) for part in parts) else None


def holds_images(folder: Path) -> bool:
    """Whether there is a folder that holds an image directly, by the endings of names; it stops at the first."""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(is_image_name(entry.name) and entry.name[0] != "." and not entry.is_dir() for entry in entries)


def file_names(folder: str | Path) -> list[str]:
    """Names of the images of a class folder, in the system's order; it prints what is left out, except hidden ones."""
    names: list[str] = listdir_nohidden(str(folder))
    others = {name for name in names if not is_image_name(name) and not os.path.isdir(os.path.join(folder, name))}
    if others:
        say(
            f"{folder} contains {counted(len(others), 'file')} without a supported image extension. "
            f"{'This file is' if len(others) == 1 else 'These files are'} skipped, for example {min(others)!r}."
        )
    return [name for name in names if name not in others]


def class_folders(image_dir: Path, ignore: Collection[str] = ()) -> list[str]:
    """Names of the class folders, sorted by code point; a name's position is its label.

    Raises:
        UserError: if there is none, or a file is among them.
    """
    folders = sorted(name for name in listdir_nohidden(str(image_dir)) if name not in ignore)
    if not folders:
        raise UserError(
            f"{image_dir} contains no class folders. Put the images of each class into a folder of that class."
        )
    for folder in folders:
        if not (image_dir / folder).is_dir():
            raise UserError(
                f"{image_dir / folder} is a file, but {image_dir} may only contain class folders. Move the file "
                "elsewhere."
            )
        if not is_text(folder):
            raise UserError(
                f"The name of the class folder {str(image_dir / folder)!r} is not valid UTF-8. Rename the folder."
            )
    return folders


def datums(images: Iterable[Image]) -> list[Datum]:
    """The images as Dassl's records, each checked to exist."""
    return [Datum(impath=image.impath, label=image.label, classname=image.classname) for image in images]
