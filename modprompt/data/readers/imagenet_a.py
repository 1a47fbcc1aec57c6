"""ImageNet-A: 7,500 natural images of 200 classes that fool ResNets (arXiv 1907.07174)."""

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.readers.imagenet_variants import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetA(ImageNetVariant):
    """ImageNet-A under ROOT/imagenet-adversarial; evaluated over its own 200 classes."""

    dataset_dir = "imagenet-adversarial"
    image_folder = "imagenet-a"
    ignore = ("README.txt",)
