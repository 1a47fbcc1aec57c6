"""Oxford Flowers: 8,189 images of 102 flowers (Nilsback and Zisserman 2008); the official split is not used."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.images import Image
from modprompt.data.listings import read_mat_labels
from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import Split, existing, split_groups
from modprompt.errors import UserError
from modprompt.io.files import Refused, read_text
from modprompt.io.records import parse_json


@DATASET_REGISTRY.register()
class OxfordFlowers(FamilyDataset):
    """Oxford Flowers under ROOT/oxford_flowers."""

    dataset_dir = "oxford_flowers"
    image_folder = "jpg"
    split_file = "split_zhou_OxfordFlowers.json"
    label_files = ("imagelabels.mat", "cat_to_name.json")

    def make_split(self) -> Split:
        """Images grouped by label in order of first appearance, each group split in half, a fifth and the rest."""
        label_file = self.folder / "imagelabels.mat"
        names = self._names()
        groups: dict[int, list[Image]] = {}
        for number, label in enumerate(read_mat_labels(label_file, "labels").tolist(), start=1):
            if str(label) not in names:
                raise UserError(f"{self.folder / 'cat_to_name.json'} has no name for label {label}: fetch it again")
            file_name = f"image_{number:05d}.jpg"
            image = existing(self.image_dir, file_name, label - 1, names[str(label)], where=str(label_file))
            groups.setdefault(label, []).append(image)
        return split_groups(groups, str(self.image_dir))

    def _names(self) -> dict[str, str]:
        path = self.folder / "cat_to_name.json"
        try:
            names = parse_json(read_text(path))
            if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
                raise Refused("it is no object of labels and names")
            return names
        except FileNotFoundError:
            raise UserError(f"annotation file missing: {path}") from None
        except Refused as error:
            raise UserError(f"{path} is damaged ({error}): fetch it again") from None
