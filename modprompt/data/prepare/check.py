"""Check an existing tree without touching it: what is missing, miscounted or unreadable."""

from __future__ import annotations

from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data import published
from modprompt.data.images import undecodable
from modprompt.data.listings import read_classnames
from modprompt.data.prepare.recipe import Archive, Recipe
from modprompt.data.readers.imagenet_variants import ImageNetVariant
from modprompt.data.split_files import Storage
from modprompt.data.splits import PARTS, Split, read_split, split_hash
from modprompt.errors import UserError
from modprompt.io import images as runs


def _split_of(name: str, folder: Path) -> tuple[Split, str, Path | None]:
    """The lists that the reader would use, with nothing written; the split's status; its file, if there is one."""
    reader_class = DATASET_REGISTRY.get(name)
    reader = reader_class.__new__(reader_class)
    reader.folder, reader.image_dir = folder, folder / reader_class.image_folder
    if isinstance(reader, ImageNetVariant):
        reader.listing = folder / "classnames.txt"
        return Split([], None, reader.list_images(read_classnames(reader.listing))), runs.NOT_KNOWN, None
    path = Storage(folder).find(reader_class.split_file) if reader_class.split_file else None
    if path is not None:
        found = read_split(path, reader.image_dir, names_repeat=reader.names_repeat)
        split = found.split
        reader.state_split(*found)
    else:
        reader.cfg = None
        split = reader.make_split()
        reader.state_split(split, split_hash(split, reader.image_dir), ours=bool(reader_class.split_file))
    return split, reader.split_facts["status"], path


_SAYS = {
    published.PUBLISHED: "the published one",
    published.OURS: "drawn by this project",
    runs.NOT_KNOWN: "not known: neither a published one nor drawn by this project",
}


def _faults_of_split(name: str, status: str, path: Path | None) -> list[str]:
    """Print the split's status; a fault if it is not the published one where one is known."""
    known = name in published.SPLIT_SHA256 or name in published.FEW_SHOT_SHA256
    if known and status != published.PUBLISHED and path is not None:
        way = f"move {path} away, then run `modprompt prepare {name}` for the published one"
        return [f"split: {_SAYS[status]}, so that numbers cannot be compared with papers: {way}"]
    print(f"{name} split: {_SAYS[status]}" + ("" if known else "; no published one is known"))
    return []


def _missing(recipe: Recipe, folder: Path) -> list[str]:
    targets: list[str] = []
    for step in recipe.steps:
        targets += step.moves.values() if isinstance(step, Archive) else [step.target]
    return [f"missing: {folder / target}" for target in targets if not (folder / target).exists()]


def check(name: str, recipe: Recipe, root: Path, *, images: bool = True) -> list[str]:
    """Faults of a data set's tree, a message each; empty if there is none.

    Args:
        name: registered name of the data set.
        recipe: what the tree must hold.
        root: folder of the data sets.
        images: also read every image.
    """
    folder = root / recipe.folder
    if not folder.is_dir():
        return [f"missing: {folder}"]
    faults = _missing(recipe, folder)
    try:
        split, status, path = _split_of(name, folder)
    except (UserError, OSError) as error:
        return [*faults, str(error)]
    faults += _faults_of_split(name, status, path)
    if not runs.own_validation(split):
        print(f"{name} val: it has no validation images of its own")
    for part, found, size in zip(PARTS, split, recipe.sizes):
        n_found = len(found or [])
        if size is not None and n_found != size:
            faults.append(f"{part}: {n_found:,} images, published are {size:,}")
        elif n_found:
            as_published = " (as published)" if status == published.PUBLISHED else ""
            print(f"{name} {part}: {n_found:,} images{as_published}")
    listed = (image for part in split for image in part or [])
    return faults + ([f"unreadable image {bad[0]} ({bad[1]})" for bad in undecodable(listed)] if images else [])
