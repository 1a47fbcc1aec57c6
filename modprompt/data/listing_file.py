"""The list of a data set's images, kept in a file, and used as long as no class folder has changed since.

A folder's time changes whenever an entry is added, removed or renamed. The file has the times of all class folders, and
of the files that decide the list; while they are the same, nothing is listed. If a folder had just changed when it was
listed, its time is not kept: a change within the same tick of the clock would not show. Nothing depends on the file:
without it, or if it is damaged or outdated, the folders are listed.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modprompt.data.folder_images import Folder, FolderImages, require_runs, require_text
from modprompt.data.split_files import Storage
from modprompt.errors import UserError
from modprompt.io.arrays import arrays_hash, read_arrays, write_arrays
from modprompt.io.records import KEY, check_seal, parse_json, sealed

NAME = "listing.npz"
_VERSION = 1
SETTLED_NS = 5 * 10**9  # since a folder's last change: more than a tick of any file system's clock
# time of the last change of the content, and of any, in ns, and bytes; None: not there, or not kept
_Stamp = tuple[int, int, int] | None
_Stamps = dict[str, _Stamp]


class Facts(NamedTuple):
    """Facts about all images of a listing, which would take as long to find as listing them.

    split: hash of the split that they form.
    pools: hash of the lists that few-shot lists are drawn from, which a few-shot list stores.
    order: what decided their order, in the reader's words.
    """

    split: str
    pools: str
    order: str


class Listing(NamedTuple):
    """Images by part, in order, and facts about them."""

    images: dict[str, FolderImages]
    facts: Facts


class ListingFile:
    """The file of one data set's listing, and its folders as they are now.

    Args:
        storage: where the data set's own files are.
        image_dir: the image folder.
        folders: the class folders of each part.
        others: names of files of the data set that decide the list, whether they exist or not.
    """

    def __init__(
        self, storage: Storage, image_dir: Path, folders: Mapping[str, Sequence[Folder]], others: Sequence[str]
    ) -> None:
        self.image_dir = image_dir
        self.folders = folders
        self.path = storage.own / "split_fewshot" / NAME
        self._candidates = list(dict.fromkeys([storage.folder / "split_fewshot" / NAME, self.path]))
        self._now = storage.now_ns()
        self._names = {part: [folder.name for folder in some] for part, some in folders.items()}
        images = image_dir.relative_to(storage.folder).as_posix()
        watched = [f"{images}/{name}" for part in self._names.values() for name in part] + list(others)
        self._stamps: _Stamps = {name: _stamp(os.path.join(storage.folder, name)) for name in watched}
        self._old: _Kept | None = None

    def read(self, list_anew: Callable[[], Listing]) -> Listing | None:
        """The stored listing, if the folders have not changed.

        Args:
            list_anew: lists the names again if the file's are damaged, which shows when they are read.
        """
        for path in self._candidates:
            try:
                kept = _read(path)
            except FileNotFoundError:
                continue
            except UserError as error:
                print(f"{error}: the images are listed anew")
                continue
            if kept.folders == self._names and not _changed(kept.stamps, self._stamps):
                print(f"Reading the list of images from {path}")
                images = {
                    part: FolderImages(
                        self.image_dir, self.folders[part], runs, partial(_text_or_anew, kept, part, list_anew)
                    )
                    for part, runs in kept.runs.items()
                }
                return Listing(images, kept.facts)
            self._old = kept
        return None

    def write(self, listing: Listing) -> None:
        """Store a new listing, whole; a message says how it differs from the one before."""
        if self._old is not None:
            print(f"The images were listed anew: {self._what_changed(self._old, listing)}")
        arrays = {}
        for part, images in listing.images.items():
            arrays[f"{part}_runs"], arrays[f"{part}_text"] = images.runs, np.frombuffer(images.text, np.uint8)
        content = {
            "folders": self._names,
            "stamps": {name: self._to_keep(stamp) for name, stamp in self._stamps.items()},
            "facts": listing.facts._asdict(),
            "arrays": {name: arrays_hash(name, array) for name, array in arrays.items()},
        }
        facts = json.dumps(sealed(content, _VERSION)).encode("ascii")
        try:
            write_arrays(self.path, packed=True, facts=np.frombuffer(facts, np.uint8), **arrays)
        except OSError as error:
            print(f"cannot write {self.path} ({error.strerror}): the images are listed at every start")
        else:
            print(f"Saved the list of images to {self.path}")

    def _to_keep(self, stamp: _Stamp) -> _Stamp | bool:
        """A time that tells of a later change; False if the last one is too recent, or the disk has no times."""
        if stamp is None or min(stamp[:2]) > 0 and max(stamp[:2]) < self._now - SETTLED_NS:
            return stamp
        return False

    def _what_changed(self, old: _Kept, new: Listing) -> str:
        changed = _changed(old.stamps, self._stamps) or ["the order of the folders"]
        some = changed[0] + (f" and {len(changed) - 1} more have" if len(changed) > 1 else " has")
        why = f"{some} changed since it was listed, or just before"
        try:
            before = [old.images(self.image_dir, part).by_folder() for part in old.folders]
        except UserError as error:
            return f"{why} ({error})"
        return f"{why}; {_difference(before, [images.by_folder() for images in new.images.values()])}"


class _Kept(NamedTuple):
    """What a file holds; the names are read when they are needed."""

    path: Path
    folders: dict[str, list[str]]
    stamps: _Stamps
    facts: Facts
    hashes: dict[str, str]
    runs: dict[str, np.ndarray]

    def text(self, part: str) -> bytes:
        """The names of a part.

        Raises:
            UserError: if the file is damaged or was replaced.
        """
        name = f"{part}_text"
        try:
            array = read_arrays(self.path, name)[name]
            if arrays_hash(name, array) != self.hashes[name]:
                raise ValueError("its names belong to another listing")
            text = array.tobytes()
            require_text(text, self.runs[part])
        except FileNotFoundError:
            raise UserError(f"{self.path} was removed while it was read") from None
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"{self.path} is damaged ({error})") from None
        return text

    def images(self, image_dir: Path, part: str) -> FolderImages:
        """The images of a part as they were, without labels."""
        folders = [Folder(name, 0, "") for name in self.folders[part]]
        return FolderImages(image_dir, folders, self.runs[part], partial(self.text, part))


def _text_or_anew(kept: _Kept, part: str, list_anew: Callable[[], Listing]) -> bytes:
    """The names of a part; if they are damaged, the file is removed and the folders are listed.

    Raises:
        UserError: if the folders have other names than the rest of the file is about.
    """
    try:
        return kept.text(part)
    except UserError as error:
        fault, what_now = f"{error}", "was damaged and does not fit the images that are there: start again without it"
    if _is_another(kept):
        fault, what_now = f"{kept.path} was replaced while it was read", "belongs to other images by now: start again"
    else:
        with contextlib.suppress(OSError):
            kept.path.unlink()  # the next run keeps a whole one
    print(f"{fault}: the images are listed anew")
    text = list_anew().images[part].text
    if arrays_hash(f"{part}_text", np.frombuffer(text, np.uint8)) != kept.hashes[f"{part}_text"]:
        raise UserError(f"{kept.path} {what_now}")
    return text


def _is_another(kept: _Kept) -> bool:
    """Whether a whole file of another listing is there by now: no lock keeps other users or machines away."""
    try:
        return _read(kept.path).hashes != kept.hashes
    except (FileNotFoundError, UserError):
        return False


def _stamp(path: str) -> _Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _read(path: Path) -> _Kept:
    """What a file holds, all checked except the names.

    Raises:
        FileNotFoundError: if there is none.
        UserError: if it is damaged, or of another version.
    """
    raw = read_arrays(path, "facts")["facts"]
    try:
        content: dict[str, Any] = parse_json(raw.tobytes())
        if not check_seal(content, path):
            raise ValueError("it has no seal")
        if content[KEY]["version"] != _VERSION:
            raise UserError(f"{path} was written by another version of modprompt")
        stamps = {name: tuple(stamp) if stamp else stamp for name, stamp in content["stamps"].items()}
        folders, hashes, facts = content["folders"], content["arrays"], Facts(**content["facts"])
        if not all(isinstance(name, str) for some in folders.values() for name in some):
            raise ValueError("its folders have no names")
        runs = dict(zip(folders, read_arrays(path, *(f"{part}_runs" for part in folders)).values()))
        for part, array in runs.items():
            if arrays_hash(f"{part}_runs", array) != hashes[f"{part}_runs"] or f"{part}_text" not in hashes:
                raise ValueError("its runs of files belong to another listing")
            require_runs(array, len(folders[part]))
        return _Kept(path, folders, stamps, facts, hashes, runs)
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error})") from None


def _changed(old: _Stamps, new: _Stamps) -> list[str]:
    """Names of folders and files that were added, removed or changed, or whose time was not kept."""
    return [name for name in dict.fromkeys([*new, *old]) if name not in new or old.get(name, False) != new[name]]


def _difference(old: list[dict[str, list[str]]], new: list[dict[str, list[str]]]) -> str:
    """How one listing differs from another, by the first folder that differs."""
    before, now = ({folder: files for part in one for folder, files in part.items()} for one in (old, new))
    other = [name for name in dict.fromkeys([*now, *before]) if before.get(name, []) != now.get(name, [])]
    if not other:
        return "the files are the same"
    first, was, files = other[0], before.get(other[0], []), now.get(other[0], [])
    come, gone = len(set(files) - set(was)), len(set(was) - set(files))
    what = f"{come} new, {gone} gone" if come or gone else "the same in another order"
    more = f", and {len(other) - 1} more folders have others" if len(other) > 1 else ""
    return f"{first} has {len(files)} files, {len(was)} before ({what}){more}"


def kept_or_listed(file: ListingFile, list_anew: Callable[[], Listing]) -> Listing:
    """The stored listing if it is still true, else a new one, which is then stored."""
    listing = file.read(list_anew)
    if listing is None:
        listing = list_anew()
        file.write(listing)
    return listing
