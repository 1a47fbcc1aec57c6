"""ImageNet-Sketch: 50,889 sketches of the 1,000 classes (arXiv 1905.13549)."""

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.readers.imagenet_variants import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetSketch(ImageNetVariant):
    """ImageNet-Sketch under ROOT/imagenet-sketch."""

    dataset_dir = "imagenet-sketch"
    image_folder = "images"
