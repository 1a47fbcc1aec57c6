"""Image transforms in the order that decides numbers.

Training: (resize) -> random_translation -> random_crop -> random_resized_crop -> random_flip -> colorjitter ->
randomgrayscale -> gaussian_blur -> to tensor -> cutout -> normalize -> gaussian_noise -> instance_norm, those that are
asked for; the resize only without both crops. Test: smaller edge to max(SIZE), centre crop, to tensor, normalize.
"""

import random

import numpy as np
import torch
import torchvision.transforms as T
import torchvision.transforms.functional as TF

INTERPOLATION_MODES = {
    "bilinear": T.InterpolationMode.BILINEAR,
    "bicubic": T.InterpolationMode.BICUBIC,
    "nearest": T.InterpolationMode.NEAREST,
}


class RandomTranslation:
    """Half of the time: enlarge by an eighth and cut a random window of the target size; otherwise resize.

    Bilinear, whatever INPUT.INTERPOLATION says: Dassl does not pass that on.
    """

    def __init__(self, size):
        self.size = size

    def __call__(self, image):
        height, width = self.size
        if random.uniform(0, 1) > 0.5:
            return TF.resize(image, [height, width])
        tall, wide = round(height * 1.125), round(width * 1.125)
        image = TF.resize(image, [tall, wide])
        left = round(random.uniform(0, wide - width))
        top = round(random.uniform(0, tall - height))
        return TF.crop(image, top, left, height, width)


class Cutout:
    """Square holes of zeros at random places of a tensor image (arXiv 1708.04552)."""

    def __init__(self, holes, length):
        self.holes = holes
        self.length = length

    def __call__(self, image):
        height, width = image.shape[-2:]
        image = image.clone()
        for _ in range(self.holes):
            y, x = np.random.randint(height), np.random.randint(width)
            half = self.length // 2
            image[..., max(0, y - half) : y + half, max(0, x - half) : x + half] = 0
        return image


class GaussianNoise:
    """Normal noise on a tensor image, half of the time."""

    def __init__(self, mean, std):
        self.mean = mean
        self.std = std

    def __call__(self, image):
        if random.uniform(0, 1) > 0.5:
            return image
        return image + torch.randn_like(image) * self.std + self.mean


def _instance_norm(image):
    mean, std = image.mean(dim=(1, 2), keepdim=True), image.std(dim=(1, 2), keepdim=True)
    return (image - mean) / (std + 1e-8)


_STEPS = {  # by name, from INPUT, in their order
    "random_translation": lambda node: RandomTranslation(list(node.SIZE)),
    "random_crop": lambda node: T.RandomCrop(list(node.SIZE), padding=node.CROP_PADDING),
    "random_resized_crop": lambda node: T.RandomResizedCrop(
        list(node.SIZE), scale=node.RRCROP_SCALE, interpolation=INTERPOLATION_MODES[node.INTERPOLATION]
    ),
    "random_flip": lambda node: T.RandomHorizontalFlip(),
    "colorjitter": lambda node: T.ColorJitter(
        node.COLORJITTER_B, node.COLORJITTER_C, node.COLORJITTER_S, node.COLORJITTER_H
    ),
    "randomgrayscale": lambda node: T.RandomGrayscale(p=node.RGS_P),
    "gaussian_blur": lambda node: T.RandomApply([T.GaussianBlur(node.GB_K)], p=node.GB_P),
    "to tensor": lambda node: T.ToTensor(),
    "cutout": lambda node: Cutout(node.CUTOUT_N, node.CUTOUT_LEN),
    "normalize": lambda node: T.Normalize(mean=node.PIXEL_MEAN, std=node.PIXEL_STD),
    "gaussian_noise": lambda node: GaussianNoise(node.GN_MEAN, node.GN_STD),
    "instance_norm": lambda node: T.Lambda(_instance_norm),
}
_CHOICES = [*(name for name in _STEPS if name != "to tensor"), "center_crop"]
_POLICIES = ["imagenet_policy", "cifar10_policy", "svhn_policy", "randaugment", "randaugment_fixmatch", "randaugment2"]
AVAI_CHOICES = [*_CHOICES, *_POLICIES]  # Dassl's name


def _check(choices):
    for choice in choices:
        if choice in _POLICIES:
            raise ValueError(
                f"The transform {choice!r} is not available in the minimal Dassl replacement. Install "
                f"Dassl.pytorch, or remove {choice!r} from INPUT.TRANSFORMS."
            )
        if choice not in _CHOICES:
            raise ValueError(
                f"INPUT.TRANSFORMS contains the unknown transform {choice!r}. Available transforms: "
                f"{', '.join(_CHOICES)}."
            )


def _training(node):
    asked = {*node.TRANSFORMS, "to tensor"}
    steps = [make(node) for name, make in _STEPS.items() if name in asked]
    if not asked & {"random_crop", "random_resized_crop"}:
        steps.insert(0, T.Resize(list(node.SIZE), interpolation=INTERPOLATION_MODES[node.INTERPOLATION]))
    return T.Compose(steps)


def _test(node):
    size, mode = list(node.SIZE), INTERPOLATION_MODES[node.INTERPOLATION]
    steps = [T.Resize(max(size), interpolation=mode), T.CenterCrop(size), T.ToTensor()]
    steps += [_STEPS[name](node) for name in ("normalize", "instance_norm") if name in node.TRANSFORMS]
    return T.Compose(steps)


def build_transform(cfg, is_train=True, choices=None):
    """The transform of training or test images; None if cfg.INPUT.NO_TRANSFORM.

    Raises:
        ValueError: on a transform or interpolation that is not known here.
    """
    if cfg.INPUT.NO_TRANSFORM:
        print("note: no transform is applied")
        return None
    if choices is not None:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.INPUT.TRANSFORMS = tuple(choices)
    if cfg.INPUT.INTERPOLATION not in INTERPOLATION_MODES:
        raise ValueError(
            f"INPUT.INTERPOLATION must be one of {', '.join(INTERPOLATION_MODES)}, got {cfg.INPUT.INTERPOLATION!r}."
        )
    _check(cfg.INPUT.TRANSFORMS)
    transform = _training(cfg.INPUT) if is_train else _test(cfg.INPUT)
    if cfg.VERBOSE:
        names = [type(step).__name__ for step in transform.transforms]
        print(f"{'Training' if is_train else 'Test'} transform: {' -> '.join(names)}")
    return transform
