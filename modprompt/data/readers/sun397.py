"""SUN397: 39,700 images of 397 scenes in the first official partition (Xiao et al. 2010)."""

from __future__ import annotations

from collections.abc import Mapping

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.images import Image
from modprompt.data.listings import read_lines
from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import Split, existing, split_trainval


@DATASET_REGISTRY.register()
class SUN397(FamilyDataset):
    """SUN397 under ROOT/sun397."""

    dataset_dir = "sun397"
    image_folder = "SUN397"
    split_file = "split_zhou_SUN397.json"
    label_files = ("ClassName.txt", "Training_01.txt", "Testing_01.txt")

    def make_split(self) -> Split:
        """The first training partition, of which a fifth of each class is val, and the first test partition."""
        labels = {line.text[1:]: label for label, line in enumerate(read_lines(self.folder / "ClassName.txt"))}
        trainval = self._read("Training_01.txt", labels)
        test = self._read("Testing_01.txt", labels)
        return Split(*split_trainval(trainval, str(self.image_dir)), test)

    def _read(self, file_name: str, labels: Mapping[str, int]) -> list[Image]:
        images = []
        for line in read_lines(self.folder / file_name):
            path = line.text[1:]
            scene = path.rpartition("/")[0]
            if scene not in labels:
                raise line.bad("a slash and an image in a folder of ClassName.txt")
            classname = " ".join(scene.split("/")[1:][::-1])  # a/apse/indoor -> indoor apse
            where = f"{line.path}, line {line.number},"
            images.append(existing(self.image_dir, path, labels[scene], classname, where=where))
        return images
