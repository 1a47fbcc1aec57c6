"""What a recipe consists of: files, archives and work by hand that make a data set's tree."""

from __future__ import annotations

from typing import NamedTuple


class File(NamedTuple):
    """One file of the tree.

    Attributes:
        target: its path below the data set's folder.
        url: where it is downloaded from; or
        drive: its id on Google Drive.
        digest: "md5:..." or "sha256:..." of the published file, or "" if none is known.
    """

    target: str
    url: str = ""
    drive: str = ""
    digest: str = ""


class Archive(NamedTuple):
    """An archive, parts of which become parts of the tree.

    Attributes:
        name: file name of the archive.
        moves: {path inside the archive: path below the data set's folder}.
        url: where it is downloaded from; or
        drive: its id on Google Drive.
        digest: "md5:..." or "sha256:..." of the published archive, or "" if none is known.
        note: what to tell a user whose download fails.
    """

    name: str
    moves: dict[str, str]
    url: str = ""
    drive: str = ""
    digest: str = ""
    note: str = ""


class ByHand(NamedTuple):
    """What cannot be downloaded by a program: the original is gone, or needs a registration.

    Attributes:
        target: path below the data set's folder that exists once it is done.
        how: what to fetch and where to put it.
    """

    target: str
    how: str


class Recipe(NamedTuple):
    """All steps of one data set.

    Attributes:
        folder: the data set's folder below the root.
        steps: files, archives, and what to do by hand.
        sizes: published number of (train, val, test) images; None where there is no such part or number.
    """

    folder: str
    steps: tuple[File | Archive | ByHand, ...]
    sizes: tuple[int | None, int | None, int | None] = (None, None, None)
