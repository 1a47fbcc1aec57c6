"""Oxford-IIIT Pets: 7,349 images of 37 breeds (Parkhi et al. 2012)."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.images import Image
from modprompt.data.listings import read_lines, whole
from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import Split, existing, split_trainval


@DATASET_REGISTRY.register()
class OxfordPets(FamilyDataset):
    """Oxford Pets under ROOT/oxford_pets."""

    dataset_dir = "oxford_pets"
    image_folder = "images"
    split_file = "split_zhou_OxfordPets.json"
    label_files = ("annotations/trainval.txt", "annotations/test.txt")

    def make_split(self) -> Split:
        """The official trainval list, of which a fifth of each class is val, and the official test list."""
        trainval = self._read("trainval.txt")
        test = self._read("test.txt")
        return Split(*split_trainval(trainval, str(self.image_dir)), test)

    def _read(self, file_name: str) -> list[Image]:
        images = []
        for line in read_lines(self.folder / "annotations" / file_name):
            fields = line.text.split(" ")
            if len(fields) != 4 or whole(fields[1]) < 1 or "_" not in fields[0]:
                raise line.bad("an image name, a class number, a species and a breed number")
            breed = fields[0].rpartition("_")[0].lower()
            where = f"{line.path}, line {line.number},"
            images.append(existing(self.image_dir, f"{fields[0]}.jpg", whole(fields[1]) - 1, breed, where=where))
        return images
