"""Caltech256: objects of 257 classes, clutter included (Griffin et al. 2007).

The reference cuts class names at the first hyphen (`002.american-flag` becomes "american"), which leaves 244 different
names of 257. Here a name is whole; DATASET.REFERENCE_NAMES True gives the reference's.
"""

import re

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import Split, split_folders
from modprompt.errors import UserError

_FOLDER = re.compile(r"\d{3}.(?P<cut>\w+)(?P<rest>.*)", flags=re.DOTALL)


def class_name(folder: str, *, reference: bool) -> str:
    """Class name of a folder such as `007.bat`, whole, or cut as the reference cuts it.

    Raises:
        UserError: if the folder is not named so.
    """
    match = _FOLDER.match(folder)
    if match is None:
        raise UserError(f"Caltech256: the folder {folder!r} is not named like 007.bat: move it away")
    return match["cut"] if reference else match["cut"] + re.sub(r"-101\Z", "", match["rest"])


@DATASET_REGISTRY.register()
class Caltech256(FamilyDataset):
    """Caltech256 under ROOT/caltech-256."""

    dataset_dir = "caltech-256"
    image_folder = "256_ObjectCategories"
    split_file = "split_huang_Caltech256.json"
    names_repeat = True  # the reference's do

    def make_split(self) -> Split:
        """The folder split; files that are not .jpg are counted, then dropped, as in the reference."""
        reference = getattr(self.cfg.DATASET, "REFERENCE_NAMES", False)
        return split_folders(
            self.image_dir,
            rename=lambda folder: class_name(folder, reference=reference),
            keep=lambda name: name.endswith(".jpg") and not name.startswith("."),
        )
