"""FGVC-Aircraft: 10,000 images of 100 aircraft variants in the official split (arXiv 1306.5151)."""

from __future__ import annotations

from collections.abc import Mapping

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.images import Image
from modprompt.data.listings import read_lines
from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import Split, existing


@DATASET_REGISTRY.register()
class FGVCAircraft(FamilyDataset):
    """FGVC-Aircraft under ROOT/fgvc_aircraft (the archive's data folder)."""

    dataset_dir = "fgvc_aircraft"
    image_folder = "images"
    label_files = ("variants.txt", "images_variant_train.txt", "images_variant_val.txt", "images_variant_test.txt")

    def make_split(self) -> Split:
        """The three official lists; a label is the line of its variant in variants.txt."""
        labels = {line.text: label for label, line in enumerate(read_lines(self.folder / "variants.txt"))}
        return Split(*(self._read(f"images_variant_{part}.txt", labels) for part in ("train", "val", "test")))

    def _read(self, file_name: str, labels: Mapping[str, int]) -> list[Image]:
        images = []
        for line in read_lines(self.folder / file_name):
            number, _, variant = line.text.partition(" ")
            if variant not in labels:
                raise line.bad("an image number, a space and a variant of variants.txt")
            where = f"{line.path}, line {line.number},"
            images.append(existing(self.image_dir, f"{number}.jpg", labels[variant], variant, where=where))
        return images
