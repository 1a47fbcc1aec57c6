"""Results of image checks, kept in a file: images are checked once, and again when they have changed.

Images are known by names, sizes and times. Nothing depends on the file: without it they are checked again.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from modprompt.data.images import Image, Looked, look_at_all, relative, require_decodable
from modprompt.data.split_files import Storage
from modprompt.io.files import read_text, sha256_of, write_json
from modprompt.io.image_files import FAMILY
from modprompt.io.records import parse_json

NAME = "split_fewshot/checked_images.json"
_Counts = dict[str, int]  # of images, by what is odd
_READ = {FAMILY: "as the family reads them, not as people see them", "people": "as people see them"}


class LookedAt:
    """The file of one data set; only for use under the lock of its storage.

    Args:
        storage: where the data set's own files are.
        root: the folder that image paths are relative to.
        by_name: images are known by their names alone: asking the disk about 50,000 would slow down every start.
    """

    def __init__(self, storage: Storage, root: Path, by_name: bool = False) -> None:
        self._storage, self._root, self._by_name = storage, root, by_name

    def _known(self) -> dict[str, _Counts]:
        path = self._storage.find(NAME)
        try:
            content = {} if path is None else parse_json(read_text(path))
        except (OSError, ValueError):  # UserError is a ValueError
            return {}
        found = content.get("found") if isinstance(content, dict) else None
        return {key: one for key, one in found.items() if _is_counts(one)} if isinstance(found, dict) else {}

    def _found(self, what: str, images: Iterable[Image], look: Callable[[], _Counts]) -> _Counts:
        digest = hashlib.sha256(what.encode())
        for image in images:
            row = f"{relative(image, self._root)}\t{'' if self._by_name else _stamp(image.impath)}\n"
            digest.update(row.encode("utf-8", "surrogatepass"))
        known, key = self._known(), digest.hexdigest()[:32]
        if key not in known:
            known[key] = look()
            path = self._storage.own / NAME
            if not path.is_file():
                print(f"Saved the results of image checks to {path}")
            write_json(path, {"found": known})
        return known[key]

    def odd(self, images: Sequence[Image], rule: str, decodes: bool, what: str) -> _Counts:
        """How many images are odd, and how (oddities of io/image_files.py).

        Args:
            images: those to check.
            rule: by which they are read.
            decodes: whether all of them are decoded.
            what: their name in messages.

        Raises:
            UserError: naming a few, if some cannot be decoded.
        """

        def look() -> _Counts:
            looked = look_at_all(images, rule, decodes)
            if decodes:
                require_decodable(looked, what)
            return _counted(looked.values())

        return self._found(f"odd {rule} {decodes}", sorted(images), look)

    def same(self, parts: Mapping[str, Sequence[Image]]) -> _Counts:
        """How many files of a part have the same content as one in an earlier part, by which parts, in words."""
        images = [image for some in parts.values() for image in some]
        sizes = ",".join(str(len(some)) for some in parts.values())
        return self._found(f"same {sizes}", images, lambda: _same(parts))


def _stamp(path: str) -> str:
    facts = os.stat(path)
    return f"{facts.st_size}\t{facts.st_mtime_ns}"


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(type(count) is int for count in value.values())


def _counted(looked: Iterable[Looked]) -> _Counts:
    return dict(sorted(Counter(odd for one in looked for odd in one.oddities).items()))


def _same(parts: Mapping[str, Sequence[Image]]) -> _Counts:
    sizes = Counter(os.stat(path).st_size for path in {image.impath for some in parts.values() for image in some})
    first: dict[str, str] = {}
    found: Counter[str] = Counter()
    for part, images in parts.items():
        for path in dict.fromkeys(image.impath for image in images):
            if sizes[os.stat(path).st_size] > 1:  # else it has no equal
                earlier = first.setdefault(sha256_of(path), part)
                found.update([f"of {part} in {earlier}, too"] if earlier != part else [])
    return dict(found)


def in_words(counts: Mapping[str, int]) -> str:
    """Counts as one text; empty if there are none."""
    return ", ".join(f"{count:,} {what}" for what, count in counts.items())


def tell(name: str, odd: Mapping[str, int], same: Mapping[str, int], rule: str) -> dict[str, str]:
    """Print which images are odd or there twice; return what a result says about it, as {name: text}."""
    facts = {"odd_images": in_words(odd), "same_files": in_words(same)}
    if odd:
        print(f"{name}: some images are odd and are read {_READ[rule]} (docs/DATASETS.md): {facts['odd_images']}")
    if same:
        print(f"{name}: files with the same content: {facts['same_files']}")
    return {key: text for key, text in facts.items() if text}
