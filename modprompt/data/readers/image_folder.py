"""ImageFolder: a folder of class folders as a data set, for one's own images.

    ROOT/<class>/*.jpg                       split in half, a fifth and the rest; the split is written next to them
    ROOT/{train,val,test}/<class>/*.jpg      used as they are; without val, or without test, the other serves as both

ROOT/classnames.txt may give class names (`folder name of the class`, a line each); otherwise a name is its folder's.
Files are sorted, so that a seed gives the same lists on every machine. Before a split is drawn every image is decoded.
A split that is read again must match the folder. Few-shot lists go into the folder of the run.
"""

from __future__ import annotations

from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.clip.tokens import require_distinct_names
from modprompt.data.fewshot import FOLDER
from modprompt.data.images import Image, class_folders, holds_images, relative, require_decodable
from modprompt.data.listings import read_lines
from modprompt.data.reader import FamilyDataset
from modprompt.data.split_files import OF_OWN_IMAGES
from modprompt.data.splits import PARTS, Split, split_groups
from modprompt.errors import UserError
from modprompt.io.image_files import PEOPLE, is_image_name
from modprompt.io.images import by_label

_NOT_CLASSES = (*OF_OWN_IMAGES, FOLDER)  # older versions made the last one


@DATASET_REGISTRY.register()
class ImageFolder(FamilyDataset):
    """The class folders in DATASET.ROOT itself; images are read as people see them."""

    read_as = PEOPLE
    lists_beside_run = True  # torchvision's ImageFolder takes every folder among the images for a class

    @classmethod
    def names_in(cls, root: Path) -> list[str]:
        """The class names of a folder; no image is looked at."""
        if not root.is_dir():
            raise UserError(f"DATASET.ROOT: there is no folder {root}; give --root")
        reader = cls.__new__(cls)
        reader.folder = root
        is_split = (root / "train").is_dir()
        classes = class_folders(root / "train") if is_split else class_folders(root, _NOT_CLASSES)
        names = reader._names(classes)
        return [names.get(name, name) for name in classes]

    @classmethod
    def without_validation(cls, root: Path) -> str:
        """Why a folder has no validation images of its own; empty if it has, or is split by us."""
        if not (root / "train").is_dir():
            return ""
        classes = class_folders(root / "train")
        for part in ("val", "test"):
            folders = [root / part / name for name in classes]
            if not any(holds_images(folder) for folder in folders if folder.is_dir()):
                return f"{root} has train/, but no images in {part}/: put some there"
        return ""

    @property
    def split_file(self) -> str:  # type: ignore[override]  # it is only read
        """A split is written only where the folders are not split already."""
        return "" if (self.folder / "train").is_dir() else "split_ImageFolder.json"

    def make_split(self) -> Split:
        """The split given by the folders, or a random one of the images."""
        if not (self.folder / "train").is_dir():
            classes = class_folders(self.folder, _NOT_CLASSES)
            images = self._list(self.folder, classes)
            empty = sorted(set(range(len(classes))) - {image.label for image in images})
            if empty:
                raise UserError(f"the class folder {self.folder / classes[empty[0]]} has no images: move it away")
            require_decodable(images, str(self.folder))
            return split_groups(by_label(images), str(self.folder))
        classes = class_folders(self.folder / "train")
        others = [name for name in class_folders(self.folder, _NOT_CLASSES) if name not in PARTS]
        if others:
            print(
                f"{self.folder}: {', '.join(others)} next to train/ is not read: the parts are train/, val/ and test/"
            )
        parts = {part: self._part(part, classes) for part in PARTS}
        if not parts["test"] and not parts["val"]:
            raise UserError(f"{self.folder} has train/ but neither test/ nor val/ with images")
        if not parts["test"]:
            return Split(parts["train"], None, parts["val"])
        return Split(parts["train"], parts["val"] or None, parts["test"])

    def check_against_folder(self, split: Split, path: Path) -> None:
        """Refuse class folders that were added later and other class names; print how many images were added.

        Raises:
            UserError: on such a folder or name.
        """
        anew = f"delete {path} to split anew"
        listed = {relative(image, self.image_dir): image for part in split for image in part or []}
        named = {name.partition("/")[0]: image.classname for name, image in listed.items()}
        folders = class_folders(self.folder, _NOT_CLASSES)
        new = [folder for folder in folders if folder not in named]
        if new:
            raise UserError(f"class folder {self.folder / new[0]} was added after the split: move it away, or {anew}")
        names = self._names(folders)
        for folder in folders:
            if names.get(folder, folder) != named[folder]:
                raise UserError(
                    f"{self.folder / folder} is {names.get(folder, folder)!r} by its name or classnames.txt, but "
                    f"{named[folder]!r} in the split: name it as it was, or {anew}"
                )
        later = [one for one in self._list(self.folder, folders) if relative(one, self.image_dir) not in listed]
        if later:
            print(f"{len(later)} images were added after the split: not used, e.g. {later[0].impath}: {anew} with them")

    def _part(self, part: str, classes: list[str]) -> list[Image]:
        folder = self.folder / part
        if not folder.is_dir():
            return []
        unknown = sorted(set(class_folders(folder)) - set(classes))
        if unknown:
            raise UserError(f"{folder / unknown[0]} is a class that {self.folder / 'train'} does not have")
        return self._list(folder, classes)

    def _list(self, folder: Path, classes: list[str]) -> list[Image]:
        names = self._names(classes)
        images: list[Image] = []
        others: list[Path] = []
        for label, name in enumerate(classes):
            for path in sorted((folder / name).iterdir()) if (folder / name).is_dir() else ():
                if path.name.startswith("."):
                    continue
                if is_image_name(path.name) and not path.is_dir():
                    images.append(Image(str(path), label, names.get(name, name)))
                else:
                    others.append(path)
        if others:
            folders = sum(path.is_dir() for path in others)
            print(
                f"{folder}: {len(others)} entries of class folders are not used, {folders} folders in them and "
                f"{len(others) - folders} files not named like images, e.g. {others[0]}"
            )
        return images

    def _names(self, classes: list[str]) -> dict[str, str]:
        path = self.folder / "classnames.txt"
        names: dict[str, str] = {}
        for line in read_lines(path) if path.is_file() else ():
            folder, _, name = line.text.partition(" ")
            if folder not in classes or not name:
                raise line.bad("a class folder, a space and its name")
            if name in names.values():
                raise line.bad(f"another name: {name!r} is in use")
            names[folder] = name
        try:
            require_distinct_names([names.get(folder, folder) for folder in classes])
        except UserError as error:
            raise UserError(f"{self.folder}: {error}, as {path.name} can") from None
        return names
