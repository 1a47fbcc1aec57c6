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
_POLICIES = ("imagenet_policy", "cifar10_policy", "svhn_policy", "randaugment", "randaugment_fixmatch", "randaugment2")
_CHOICES = (
    "random_translation",
    "random_crop",
    "random_resized_crop",
    "random_flip",
    "colorjitter",
    "randomgrayscale",
    "gaussian_blur",
    "cutout",
    "normalize",
    "gaussian_noise",
    "instance_norm",
    "center_crop",
)
AVAI_CHOICES = [*_CHOICES, *_POLICIES]  # Dassl's name


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


def _check(choices):
    for choice in choices:
        if choice in _POLICIES:
            raise ValueError(f"transform {choice!r} needs the full Dassl: install Dassl.pytorch, or leave it out")
        if choice not in _CHOICES:
            raise ValueError(f"INPUT.TRANSFORMS: there is no {choice!r} (known: {', '.join(_CHOICES)})")


def _training(cfg):
    size, mode = list(cfg.INPUT.SIZE), INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION]
    asked = cfg.INPUT.TRANSFORMS
    steps = []
    if "random_crop" not in asked and "random_resized_crop" not in asked:
        steps.append(T.Resize(size, interpolation=mode))
    available = {
        "random_translation": lambda: RandomTranslation(size),
        "random_crop": lambda: T.RandomCrop(size, padding=cfg.INPUT.CROP_PADDING),
        "random_resized_crop": lambda: T.RandomResizedCrop(size, scale=cfg.INPUT.RRCROP_SCALE, interpolation=mode),
        "random_flip": T.RandomHorizontalFlip,
        "colorjitter": lambda: T.ColorJitter(
            cfg.INPUT.COLORJITTER_B, cfg.INPUT.COLORJITTER_C, cfg.INPUT.COLORJITTER_S, cfg.INPUT.COLORJITTER_H
        ),
        "randomgrayscale": lambda: T.RandomGrayscale(p=cfg.INPUT.RGS_P),
        "gaussian_blur": lambda: T.RandomApply([T.GaussianBlur(cfg.INPUT.GB_K)], p=cfg.INPUT.GB_P),
        None: T.ToTensor,
        "cutout": lambda: Cutout(cfg.INPUT.CUTOUT_N, cfg.INPUT.CUTOUT_LEN),
        "normalize": lambda: T.Normalize(mean=cfg.INPUT.PIXEL_MEAN, std=cfg.INPUT.PIXEL_STD),
        "gaussian_noise": lambda: GaussianNoise(cfg.INPUT.GN_MEAN, cfg.INPUT.GN_STD),
        "instance_norm": lambda: T.Lambda(_instance_norm),
    }
    steps += [make() for name, make in available.items() if name is None or name in asked]
    return T.Compose(steps)


def _test(cfg):
    size, mode = list(cfg.INPUT.SIZE), INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION]
    steps = [T.Resize(max(size), interpolation=mode), T.CenterCrop(size), T.ToTensor()]
    if "normalize" in cfg.INPUT.TRANSFORMS:
        steps.append(T.Normalize(mean=cfg.INPUT.PIXEL_MEAN, std=cfg.INPUT.PIXEL_STD))
    if "instance_norm" in cfg.INPUT.TRANSFORMS:
        steps.append(T.Lambda(_instance_norm))
    return T.Compose(steps)


def build_transform(cfg, is_train=True, choices=None):
    """The transform of training or test images; None if cfg.INPUT.NO_TRANSFORM.

    Raises:
        ValueError: on a transform or interpolation that is not known here.
    """
    if cfg.INPUT.NO_TRANSFORM:
        print("Note: no transform is applied")
        return None
    if choices is not None:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.INPUT.TRANSFORMS = tuple(choices)
    if cfg.INPUT.INTERPOLATION not in INTERPOLATION_MODES:
        raise ValueError(
            f"INPUT.INTERPOLATION must be one of {', '.join(INTERPOLATION_MODES)}, got {cfg.INPUT.INTERPOLATION!r}"
        )
    _check(cfg.INPUT.TRANSFORMS)
    transform = _training(cfg) if is_train else _test(cfg)
    if cfg.VERBOSE:
        names = [type(step).__name__ for step in transform.transforms]
        print(f"{'Training' if is_train else 'Test'} transform: {' -> '.join(names)}")
    return transform
