"""ImageNetV2: 10,000 new test images of the 1,000 classes, matched frequency (arXiv 1902.10811)."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.images import Image, folder_images
from modprompt.data.readers.imagenet_variants import ImageNetVariant
from modprompt.errors import UserError


@DATASET_REGISTRY.register()
class ImageNetV2(ImageNetVariant):
    """ImageNetV2 under ROOT/imagenetv2; its folders are numbers, in the order of the lines of classnames.txt."""

    dataset_dir = "imagenetv2"
    image_folder = "imagenetv2-matched-frequency-format-val"
    n_classes = 1000

    def wnids(self, names: dict[str, str]) -> list[str]:
        """The first `n_classes` of classnames.txt."""
        return list(names)[: self.n_classes]

    def list_images(self, names: dict[str, str]) -> list[Image]:
        """All images, labelled by the number that is their folder's name."""
        classnames = list(names.values())
        if len(classnames) < self.n_classes:
            raise UserError(f"{self.listing} has {len(classnames)} class names, {self.n_classes} are needed")
        images: list[Image] = []
        for label in range(self.n_classes):
            if not (self.image_dir / str(label)).is_dir():
                raise UserError(f"ImageNetV2: there is no folder {self.image_dir / str(label)}: complete the images")
            images += folder_images(self.image_dir / str(label), label, classnames[label])
        return images
