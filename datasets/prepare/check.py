"""A look at an existing tree without touching it: what is missing, miscounted or unreadable."""

from __future__ import annotations

from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from PIL import Image as PILImage
from tqdm import tqdm

from datasets.imagenet_variants import ImageNetVariant
from datasets.listings import read_classnames
from datasets.prepare.recipes import Archive, Recipe
from datasets.splits import PARTS, Split, read_split
from modprompt.errors import UserError


def _split_of(name: str, folder: Path) -> Split:
    """The lists that the reader would have, with nothing written."""
    reader_class = DATASET_REGISTRY.get(name)
    reader = reader_class.__new__(reader_class)
    reader.folder, reader.image_dir = folder, folder / reader_class.image_folder
    if isinstance(reader, ImageNetVariant):
        reader.listing = folder / "classnames.txt"
        return Split([], None, reader.list_images(read_classnames(reader.listing)))
    split_file = folder / reader_class.split_file
    if reader_class.split_file and split_file.is_file():
        return read_split(split_file, reader.image_dir, names_repeat=reader.names_repeat)
    reader.cfg = None
    return reader.make_split()


def _unreadable(split: Split) -> list[str]:
    bad = []
    paths = dict.fromkeys(image.impath for images in split if images for image in images)
    for path in tqdm(paths, desc="reading images", unit="image"):
        try:
            with PILImage.open(path) as image:
                image.load()
        except Exception as error:
            bad.append(f"unreadable image {path} ({' '.join(str(error).split())[:80]})")
    return bad


def _missing(recipe: Recipe, folder: Path) -> list[str]:
    targets = []
    for step in recipe.steps:
        targets += step.moves.values() if isinstance(step, Archive) else [step.target]
    return [f"missing: {folder / target}" for target in targets if not (folder / target).exists()]


def check(name: str, recipe: Recipe, root: Path, *, images: bool = True) -> list[str]:
    """Faults of a data set's tree, a line each; empty if there is none.

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
        split = _split_of(name, folder)
    except (UserError, OSError) as error:
        return [*faults, str(error)]
    for part, found, published in zip(PARTS, split, recipe.sizes):
        n_found = len(found or [])
        if published is not None and n_found != published:
            faults.append(f"{part}: {n_found:,} images, published are {published:,}")
        elif n_found:
            print(f"{name} {part}: {n_found:,} images" + (" (as published)" if published else ""))
    return faults + (_unreadable(split) if images else [])
