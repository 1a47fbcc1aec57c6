"""ImageNet-R: 30,000 renditions of 200 classes (arXiv 2006.16241)."""

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.readers.imagenet_variants import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetR(ImageNetVariant):
    """ImageNet-R under ROOT/imagenet-rendition; evaluated over its own 200 classes."""

    dataset_dir = "imagenet-rendition"
    image_folder = "imagenet-r"
    ignore = ("README.txt",)
