"""ImageFolder: a folder of class folders as a data set, for one's own images.

    ROOT/<class>/*.jpg                       split in half, a fifth and the rest; the split is written next to them
    ROOT/{train,val,test}/<class>/*.jpg      used as they are; without val, or without test, the other serves as both;
                                             with train alone nothing is tested (TEST.NO_TEST True)

ROOT/classnames.txt may give class names (`folder name of the class`, a line each); otherwise a name is its folder's.
Files are sorted, so that a seed gives the same lists on every machine. Before a split is drawn every image is decoded.
A split that is read again must match the folder. Few-shot lists go into the folder of the run.
"""

from __future__ import annotations

from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.checks import counted
from modprompt.clip.tokens import require_distinct_names
from modprompt.data.fewshot import FOLDER
from modprompt.data.images import Image, by_label, class_folders, holds_images, relatives, require_decodable
from modprompt.data.listings import read_lines
from modprompt.data.reader import FamilyDataset
from modprompt.data.split_files import OF_OWN_IMAGES
from modprompt.data.splits import PARTS, Split, split_groups
from modprompt.errors import UserError
from modprompt.io.image_files import PEOPLE, is_image_name
from modprompt.output import say

_NOT_CLASSES = (*OF_OWN_IMAGES, FOLDER)  # older versions made the last one


def _classes(root: Path) -> dict[str, str]:
    """{class folder of a root, or of its train/: name}, in the order of labels.

    Raises UserError if there are none, or classnames.txt is wrong or gives two classes one name, as CLIP reads them.
    """
    folders = class_folders(root / "train") if (root / "train").is_dir() else class_folders(root, _NOT_CLASSES)
    path = root / "classnames.txt"
    names: dict[str, str] = {}
    for line in read_lines(path) if path.is_file() else ():
        folder, _, name = line.text.partition(" ")
        if folder not in folders or not name:
            raise line.bad("Each line must contain the name of a class folder, a space and the class name.")
        names[folder] = name
    names = {folder: names.get(folder, folder) for folder in folders}
    try:
        require_distinct_names([*names.values()])
    except UserError as error:
        raise UserError(f"{root}: {error} Class names can be set in {path}.") from None
    return names


def _has_images(root: Path, part: str) -> bool:
    """Return True if val/ or test/ of a root has an image of a class that its train/ has."""
    return any(holds_images(root / part / name) for name in class_folders(root / "train"))


@DATASET_REGISTRY.register()
class ImageFolder(FamilyDataset):
    """The class folders in DATASET.ROOT itself; images are read as people see them."""

    read_as = PEOPLE
    lists_beside_run = True  # torchvision's ImageFolder takes every folder among the images for a class

    @classmethod
    def names_in(cls, root: Path) -> list[str]:
        """The class names of a folder; no image is looked at."""
        if not root.is_dir():
            raise UserError(
                f"DATASET.ROOT {root}: the folder does not exist. Set --root (or the variable DATA if you use the "
                f"scripts) to an existing folder."
            )
        return [*_classes(root).values()]

    @classmethod
    def without_validation(cls, root: Path) -> str:
        """Why a folder has no validation images of its own; empty if it has, or is split by us."""
        if not (root / "train").is_dir():
            return ""
        empty = [part for part in ("val", "test") if not _has_images(root, part)]
        return f"{root} has a folder train/, but {empty[0]}/ contains no images" if empty else ""

    @classmethod
    def without_test(cls, root: Path) -> str:
        """Return that a folder has train/ alone; empty if it has other images, or is split by this project."""
        if not (root / "train").is_dir() or _has_images(root, "val") or _has_images(root, "test"):
            return ""
        return f"{root} has a folder train/, but neither test/ nor val/ contains images"

    @property
    def split_file(self) -> str:  # type: ignore[override]  # it is only read
        """A split is written only where the folders are not split already."""
        return "" if (self.folder / "train").is_dir() else "split_ImageFolder.json"

    def make_split(self) -> Split:
        """The split given by the folders, or a random one of the images."""
        names = _classes(self.folder)
        if not (self.folder / "train").is_dir():
            groups = by_label(self._list(self.folder, names))
            for label, folder in enumerate(names):
                if label not in groups:
                    raise UserError(
                        f"The class folder {self.folder / folder} contains no images. Add images, or move the folder "
                        "elsewhere."
                    )
            require_decodable((image for images in groups.values() for image in images), str(self.folder))
            return split_groups(groups, str(self.folder))
        others = [name for name in class_folders(self.folder, _NOT_CLASSES) if name not in PARTS]
        if others:
            say(
                f"note: {self.folder} has a folder train/, so the folder{'s' * (len(others) != 1)} {', '.join(others)} "
                f"{'is' if len(others) == 1 else 'are'} not read. Only train/, val/ and test/ are read."
            )
        for part in (self.folder / "val", self.folder / "test"):
            unknown = sorted({*class_folders(part)} - {*names}) if part.is_dir() else []
            if unknown:
                raise UserError(
                    f"The class folder {part / unknown[0]} has no counterpart in {self.folder / 'train'}. Add "
                    "training images of this class, or move the folder elsewhere."
                )
        train, val, test = (self._list(self.folder / part, names) for part in PARTS)
        return Split(train, (val or None) if test else None, test or val)

    def check_against_folder(self, split: Split, path: Path) -> None:
        """Raise UserError on class folders that were added later and other names; print how many images were added."""
        anew = f"delete {path} to draw a new split"
        images = [image for part in split for image in part or []]
        listed = dict(zip(relatives(images, self.image_dir), images))
        split_names = {name.partition("/")[0]: image.classname for name, image in listed.items()}
        names = _classes(self.folder)
        for folder, name in names.items():
            if folder not in split_names:
                raise UserError(
                    f"The class folder {self.folder / folder} was added after the split was drawn. Move the folder "
                    f"elsewhere, or {anew}."
                )
            if name != split_names[folder]:
                raise UserError(
                    f"The class folder {self.folder / folder} is now called {name!r}, according to the folder name or "
                    f"classnames.txt, but the split contains the name {split_names[folder]!r}. Restore the old name, "
                    f"or {anew}."
                )
        present = self._list(self.folder, names)
        later = [image for image, name in zip(present, relatives(present, self.image_dir)) if name not in listed]
        if later:
            say(
                f"note: {len(later)} image{' was' if len(later) == 1 else 's were'} added after the split was drawn "
                f"and will not be used, for example {later[0].impath}. To use all images, {anew}."
            )

    def _list(self, folder: Path, names: dict[str, str]) -> list[Image]:
        """The images of the class folders in a folder, sorted; it prints what else is in them."""
        images: list[Image] = []
        others: list[Path] = []
        for label, (name, classname) in enumerate(names.items()):
            for path in sorted((folder / name).iterdir()) if (folder / name).is_dir() else ():
                if is_image_name(path.name) and path.name[0] != "." and not path.is_dir():
                    images.append(Image(str(path), label, classname))
                elif path.name[0] != ".":
                    others.append(path)
        if others:
            folders = sum(path.is_dir() for path in others)
            say(
                f"note: the class folders of {folder} contain {counted(len(others), 'entry', 'entries')} that will "
                f"not be used, namely {counted(folders, 'subfolder')} and {counted(len(others) - folders, 'file')} "
                f"without a supported image extension. The first is {others[0]}."
            )
        return images
