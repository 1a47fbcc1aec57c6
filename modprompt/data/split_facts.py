"""What makes a split easier than it looks: images that are there more than once, missing classes."""

from __future__ import annotations

from modprompt.data import published
from modprompt.data.folder_images import FolderImages
from modprompt.data.splits import PARTS, Split


def doubles(split: Split) -> str:
    """In words, which images a split has more than once, or under several labels; empty if none.

    Published files may have some, and numbers on them are compared: it is reported, not refused.
    """
    places: dict[str, list[str]] = {}
    labels: dict[str, set[int]] = {}
    for part, images in zip(PARTS, split):
        for image in images or []:
            places.setdefault(image.impath, []).append(part)
            labels.setdefault(image.impath, set()).add(image.label)
    several = {path: of for path, of in places.items() if len(of) > 1}
    kinds = {
        "in more than one part": [path for path, of in several.items() if len(set(of)) > 1],
        "twice in one part": [path for path, of in several.items() if len(set(of)) < len(of)],
        "under more than one label": [path for path in several if len(labels[path]) > 1],
    }
    return ", ".join(f"{len(paths):,} {kind} (e.g. {paths[0]})" for kind, paths in kinds.items() if paths)


def told_of_split(name: str, split: Split) -> dict[str, str]:
    """Print what makes a split easier than it looks, a message each; return what a result says about it.

    Args:
        name: of the data set.
        split: its lists.
    """
    facts = {}
    if isinstance(split.test, FolderImages):  # a million images of folders, where no path occurs twice
        twice, classes = "", len(split.test.sizes())
    else:
        twice, classes = doubles(split), len({image.label for image in split.test})
    if twice:
        facts["doubles"] = twice
        print(f"{name}: images of its split are there more than once: {twice}")
    known = published.CLASSES.get(name, classes)
    if classes != known:
        facts["classes"] = f"{classes} of {known} classes"
        print(f"{name}: there are {classes} classes, the published data set has {known}: numbers are for another task")
    return facts
