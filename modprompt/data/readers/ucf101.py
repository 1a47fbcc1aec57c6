"""UCF101: middle frames of 13,320 videos of 101 actions, first official split (arXiv 1212.0402)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.images import Image
from modprompt.data.listings import read_lines, whole
from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import Split, existing, split_trainval


def spaced(action: str) -> str:
    """`ApplyEyeMakeup` as `Apply_Eye_Makeup`: folder and class name of an action."""
    return "_".join(re.findall("[A-Z][^A-Z]*", action))


@DATASET_REGISTRY.register()
class UCF101(FamilyDataset):
    """UCF101 under ROOT/ucf101."""

    dataset_dir = "ucf101"
    image_folder = "UCF-101-midframes"
    split_file = "split_zhou_UCF101.json"
    label_files = tuple(f"ucfTrainTestlist/{name}.txt" for name in ("classInd", "trainlist01", "testlist01"))

    def make_split(self) -> Split:
        """The first training list, of which a fifth of each class is val, and the first test list."""
        labels: dict[str, int] = {}
        for line in read_lines(self.folder / "ucfTrainTestlist" / "classInd.txt"):
            number, _, action = line.text.partition(" ")
            if whole(number) < 1 or not action:
                raise line.bad("a number, a space and an action")
            labels[spaced(action)] = whole(number) - 1
        trainval = self._read("trainlist01.txt", labels)
        test = self._read("testlist01.txt", labels)
        return Split(*split_trainval(trainval, str(self.image_dir)), test)

    def _read(self, file_name: str, labels: Mapping[str, int]) -> list[Image]:
        images = []
        for line in read_lines(self.folder / "ucfTrainTestlist" / file_name):
            action, slash, video = line.text.split(" ")[0].partition("/")
            folder = spaced(action)
            if not slash or folder not in labels:
                raise line.bad("action/video.avi with an action of classInd.txt")
            name = f"{folder}/{video.replace('.avi', '.jpg')}"
            where = f"{line.path}, line {line.number},"
            images.append(existing(self.image_dir, name, labels[folder], folder, where=where))
        return images
