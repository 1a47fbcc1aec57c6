"""Hashes of lists of images and of the contents of their files, by which changed images are noticed.

The lists hold objects with the attributes impath, label and classname (Dassl's Datum, or a reader's own record).
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from modprompt.io.files import sha256_of

_RULE = "2:"  # the version of the rule, before a hash
_MANY = 10_000  # images from which on a progress bar is shown
_READERS = 8  # files that are read at a time
Lists = Mapping[str, Sequence[Any]]  # images by what they are for
IMAGE_FILES = "image_files"  # in a result: what its images' files looked like and held
_WHEN, _FOLDER = "seen_ns", "folder"  # in it: when they were looked at, and in which folder
_CLOCKS_NS = 60 * 10**9  # by which a file server's clock may be behind
_content_hashes: dict[tuple[str, str], str] = {}  # of lists, by their root and stamp


def _digits(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def common_root(lists: Iterable[Sequence[Any] | None]) -> str:
    """Return the common parent folder of all images, or "" if there is none."""
    folders = {os.path.dirname(image.impath) for images in lists for image in images or []}
    try:
        return os.path.commonpath(list(folders)) if folders else ""
    except ValueError:  # absolute and relative ones, or several drives
        return ""


def below(path: str, root: str) -> str:
    """Return the path of a file relative to a folder, with forward slashes, or the whole path if it is outside."""
    folder = root.rstrip(os.sep) + os.sep
    return (path[len(folder) :] if root and path.startswith(folder) else path).replace(os.sep, "/")


def file_hashes(paths: list[str]) -> list[str]:
    """Return the SHA-256 of each file, computed in several threads; raise OSError if a file cannot be read."""
    from tqdm import tqdm  # late: it takes a moment

    silent = None if len(paths) > _MANY else True  # None: where standard error is a terminal
    with ThreadPoolExecutor(_READERS) as pool:
        return list(tqdm(pool.map(sha256_of, paths), "hashing images", len(paths), disable=silent, unit="image"))


def images_hash(*lists: Sequence[Any] | None, root: str = "", first_by_content: bool = False) -> str:
    """Return a hash of lists of images, computed from the relative path, label and file size of each image.

    root: the folder that paths are relative to; empty: the one that they have in common. first_by_content: the first
    list's images are told by their content, not by their size.
    """
    root = root or common_root(lists)

    def rows() -> Iterable[str]:
        for number, images in enumerate(lists):
            paths = (image.impath for image in images or [])
            by_content = first_by_content and number == 0
            marks: Iterable[Any] = file_hashes(list(paths)) if by_content else map(os.path.getsize, paths)
            yield from (f"{below(one.impath, root)}\t{one.label}\t{mark}\n" for one, mark in zip(images or [], marks))
            yield "\n"

    return _RULE + _digits(rows())[:16]


def image_files(lists: Lists, root: str) -> dict[str, Any]:
    """Return hashes of the sizes, modification times and contents of image files, for result.json."""
    root = root or common_root(lists.values())
    seen = {_WHEN: time.time_ns(), _FOLDER: _identity(root)}
    held = {name: {"looks": stamps(one, root)[1], "holds": content_hash(one, root)} for name, one in lists.items()}
    return {**seen, **held}


def differing_images(recorded: Mapping[str, Any], lists: Lists, root: str) -> list[str]:
    """Return texts on the lists of a result whose images have changed.

    Contents are read only if the stamp of a list has changed.
    """
    root = root or common_root(lists.values())
    found = []
    for name, images in lists.items():
        one = recorded.get(name)
        try:
            if isinstance(one, Mapping) and one.get("looks") != stamps(images, root)[1]:
                found += [] if one.get("holds") == content_hash(images, root) else [f"the {name} images have changed"]
        except OSError as error:
            found.append(f"the {name} images cannot be read ({error.strerror}: {error.filename})")
    return found


def unchanged_since(recorded: Mapping[str, Any], root: str, newest_ns: int) -> bool:
    """Return True if no file in a folder has changed since result.json was written."""
    there, seen_ns = _identity(root), recorded.get(_WHEN)
    return bool(there) and there == recorded.get(_FOLDER) and newest_ns < (seen_ns or 0) - _CLOCKS_NS


def newest_change_ns(root: str) -> int:
    """Return the newest change time (ctime, in ns) of all files below a folder; raise OSError if one cannot be read."""
    newest, folders, known = os.stat(root).st_ctime_ns, [root], set()
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                found = entry.stat()
                newest = max(newest, found.st_ctime_ns, entry.stat(follow_symlinks=False).st_ctime_ns)
                if entry.is_dir() and (found.st_dev, found.st_ino) not in known:  # links may go round in a circle
                    known.add((found.st_dev, found.st_ino))
                    folders.append(entry.path)
    return newest


def _identity(folder: str) -> str:
    with contextlib.suppress(OSError):
        found = os.stat(folder)
        return f"{found.st_dev}:{found.st_ino}"
    return ""


def file_stamps(path: str) -> tuple[str, str]:
    """Return two texts on a file: size and modification time, and the same with inode and change time.

    `mv` and `cp -p` preserve size and modification time. Inode and change time differ after them, but also after
    harmless steps such as chmod, so that they only tell when contents must be compared.
    """
    status = os.stat(path)
    times = f"{status.st_size}\t{status.st_mtime_ns}"
    return times, f"{times}\t{status.st_ino}\t{status.st_ctime_ns}"


def _distinct_paths(images: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(image.impath for image in images))


def stamps(images: Sequence[Any], root: str) -> tuple[str, str]:
    """Return two hashes of the paths of images and of the stamps that `file_stamps` returns for them.

    Raises:
        OSError: if a file is missing.
    """
    digests = hashlib.sha256(), hashlib.sha256()
    for path in _distinct_paths(images):
        for digest, text in zip(digests, file_stamps(path)):
            digest.update(f"{below(path, root)}\t{text}\n".encode("utf-8", "surrogatepass"))
    times, stamp = (digest.hexdigest()[:16] for digest in digests)
    return times, stamp


def content_hash(images: Sequence[Any], root: str) -> str:
    """Return a hash (16 hex digits) of the paths and contents of images; raise OSError if a file is missing.

    A process reads the contents of a list again only if its stamp has changed.
    """
    key = root, stamps(images, root)[1]
    if key not in _content_hashes:
        paths = _distinct_paths(images)
        rows = (f"{below(path, root)}\t{digest}\n" for path, digest in zip(paths, file_hashes(paths)))
        _content_hashes[key] = _digits(rows)[:16]
    return _content_hashes[key]


def list_hash(images: Iterable[Any], root: str) -> str:
    """Return twelve hex digits that identify a few-shot list: its paths, labels and class names."""
    return _digits(f"{below(one.impath, root)}\t{one.label}\t{one.classname}\n" for one in images)[:12]
