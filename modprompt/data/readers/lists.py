"""Data sets with official lists as text, read where there is no split file.

FGVC-Aircraft: 10,000 images of 100 aircraft variants (arXiv 1306.5151), always in the official split
Oxford-IIIT Pets: 7,349 images of 37 breeds (Parkhi et al. 2012)
SUN397: 39,700 images of 397 scenes in the first official partition (Xiao et al. 2010)
UCF101: middle frames of 13,320 videos of 101 actions, first official split (arXiv 1212.0402)
"""

from __future__ import annotations

import re
from collections.abc import Callable

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.images import Image
from modprompt.data.listings import Line, read_lines, whole
from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import Split, existing, split_trainval


class _Listed(FamilyDataset):
    """A subclass gives the list files below its folder, of training and test or of all three parts."""

    lists: tuple[str, ...] = ()

    def _split_of_lists(self, entry: Callable[[Line], tuple[str, int, str]]) -> Split:
        """The official lists; of two, a fifth of each class of the training list is val.

        Args:
            entry: an image's path below the image folder, its label and class name, from a line; UserError if the line
                does not have the expected form.
        """
        parts: list[list[Image]] = [[] for _ in self.lists]
        for part, name in zip(parts, self.lists):
            for line in read_lines(self.folder / name):
                part.append(existing(self.image_dir, *entry(line), where=f"{line.path}, line {line.number},"))
        return Split(*parts) if len(parts) == 3 else Split(*split_trainval(parts[0], str(self.image_dir)), parts[1])


@DATASET_REGISTRY.register()
class FGVCAircraft(_Listed):
    """FGVC-Aircraft under ROOT/fgvc_aircraft (the archive's data folder)."""

    dataset_dir = "fgvc_aircraft"
    image_folder = "images"
    lists = ("images_variant_train.txt", "images_variant_val.txt", "images_variant_test.txt")
    label_files = ("variants.txt", *lists)

    def make_split(self) -> Split:
        """Of lines like `0034309 707-320`; a label is the line of its variant in variants.txt."""
        labels = {line.text: label for label, line in enumerate(read_lines(self.folder / "variants.txt"))}

        def entry(line: Line) -> tuple[str, int, str]:
            number, _, variant = line.text.partition(" ")
            if variant not in labels:
                raise line.bad(
                    "Each line must contain an image number, a space and one of the variants that are listed in "
                    "variants.txt."
                )
            return f"{number}.jpg", labels[variant], variant

        return self._split_of_lists(entry)


@DATASET_REGISTRY.register()
class OxfordPets(_Listed):
    """Oxford Pets under ROOT/oxford_pets."""

    dataset_dir = "oxford_pets"
    image_folder = "images"
    split_file = "split_zhou_OxfordPets.json"
    lists = label_files = ("annotations/trainval.txt", "annotations/test.txt")

    def make_split(self) -> Split:
        """Of lines like `Abyssinian_100 1 1 1`."""

        def entry(line: Line) -> tuple[str, int, str]:
            fields = line.text.split(" ")
            if len(fields) != 4 or whole(fields[1]) < 1 or "_" not in fields[0]:
                raise line.bad("Each line must contain an image name, a class number, a species and a breed number.")
            return f"{fields[0]}.jpg", whole(fields[1]) - 1, fields[0].rpartition("_")[0].lower()

        return self._split_of_lists(entry)


@DATASET_REGISTRY.register()
class SUN397(_Listed):
    """SUN397 under ROOT/sun397."""

    dataset_dir = "sun397"
    image_folder = "SUN397"
    split_file = "split_zhou_SUN397.json"
    lists = ("Training_01.txt", "Testing_01.txt")
    label_files = ("ClassName.txt", *lists)

    def make_split(self) -> Split:
        """Of lines like `/a/apse/indoor/sun_x.jpg`, of class "indoor apse"; a label is a line of ClassName.txt."""
        labels = {line.text[1:]: label for label, line in enumerate(read_lines(self.folder / "ClassName.txt"))}

        def entry(line: Line) -> tuple[str, int, str]:
            path = line.text[1:]
            scene = path.rpartition("/")[0]
            if scene not in labels:
                raise line.bad(
                    "Each line must contain a path of the form /FOLDER/IMAGE, with a FOLDER that is listed in "
                    "ClassName.txt."
                )
            return path, labels[scene], " ".join(scene.split("/")[1:][::-1])

        return self._split_of_lists(entry)


@DATASET_REGISTRY.register()
class UCF101(_Listed):
    """UCF101 under ROOT/ucf101."""

    dataset_dir = "ucf101"
    image_folder = "UCF-101-midframes"
    split_file = "split_zhou_UCF101.json"
    lists = ("ucfTrainTestlist/trainlist01.txt", "ucfTrainTestlist/testlist01.txt")
    label_files = ("ucfTrainTestlist/classInd.txt", *lists)

    def make_split(self) -> Split:
        """Of lines like `ApplyEyeMakeup/v_x.avi 1`, whose frame is Apply_Eye_Makeup/v_x.jpg."""
        labels: dict[str, int] = {}
        for line in read_lines(self.folder / "ucfTrainTestlist/classInd.txt"):
            number, _, action = line.text.partition(" ")
            if whole(number) < 1 or not action:
                raise line.bad("Each line of the file must contain a number, a space and the name of an action.")
            labels[_spaced(action)] = whole(number) - 1

        def entry(line: Line) -> tuple[str, int, str]:
            action, slash, video = line.text.split(" ")[0].partition("/")
            folder = _spaced(action)
            if not slash or folder not in labels:
                raise line.bad(
                    "Each line must contain a path ACTION/VIDEO.avi, with an action that is listed in classInd.txt."
                )
            return f"{folder}/{video.replace('.avi', '.jpg')}", labels[folder], folder

        return self._split_of_lists(entry)


def _spaced(action: str) -> str:
    """`ApplyEyeMakeup` as `Apply_Eye_Makeup`: folder and class name of an action."""
    return "_".join(re.findall("[A-Z][^A-Z]*", action))
