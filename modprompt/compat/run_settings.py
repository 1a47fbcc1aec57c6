"""All settings of a run except its method's, each once, with its type, default, meaning and valid values.

Those of Dassl 0.6.3 decide numbers with every Dassl, so the small one gets them from here; those of the family and ours
are added to any Dassl's configuration (BESIDE_DASSL).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from modprompt.clip.design import SHORTEST, SQUASH
from modprompt.errors import SettingError
from modprompt.fields import Configured, Must, setting
from modprompt.io.image_files import FAMILY, RULES

S = TypeVar("S", bound="RunSettings")
C = TypeVar("C", bound=Configured)
_MANY = 10**6  # epochs, images of a batch: more would run for ever, or fit no memory


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf


def _between(least: float, most: float, meaning: str = "") -> Must:
    what = meaning or (f"from {least:g} to {most:g}" if most < math.inf else f"a number from {least:g} up")
    return Must(lambda value: _finite(value) and least <= value <= most, what)


def _one_of(*choices: str) -> Must:
    return Must(lambda value: value in choices, f"{', '.join(choices[:-1])} or {choices[-1]}")


def _all(values: Any, fits: Any, count: int) -> bool:
    return isinstance(values, (list, tuple)) and len(values) == count and all(map(fits, values))


def _is_share_of_area(value: Any) -> bool:
    return _all(value, _finite, 2) and 0 < value[0] <= value[1] <= 1


_ANY = Must(lambda value: True, "anything")
_LIST = Must(lambda value: isinstance(value, (list, tuple)), "a list")
_SHARE, _FROM_0 = _between(0, 1), _between(0, math.inf)
_COUNT = _between(1, _MANY, f"at least 1 and at most {_MANY}")
_BELOW_1 = Must(lambda value: _finite(value) and 0 <= value < 1, "from 0 up and below 1")
_SIDES = Must(
    lambda value: _all(value, lambda one: isinstance(one, int) and 0 < one <= 10**4, 2), "two numbers of pixels"
)
_ABOVE_0 = Must(lambda value: _finite(value) and value > 0, "a number above 0")
_EPOCHS = Must(
    lambda value: isinstance(value, int) or _all(value, lambda one: isinstance(one, int), len(value)),
    "whole numbers of epochs",
)
_SEED = Must(lambda value: isinstance(value, int) and value < 2**32, "below 2**32; negative for none")
_ODD = Must(lambda value: isinstance(value, int) and 0 < value < 10**4 and value % 2 == 1, "an odd number")


@dataclass(frozen=True, repr=False)
class Input(Configured):
    """How images are preprocessed."""

    node = "INPUT"

    size: tuple[int, ...] = setting((224, 224), "height and width in pixels", must=_SIDES)
    interpolation: str = setting("bilinear", "of resizing", must=_one_of("bilinear", "bicubic", "nearest"))
    transforms: tuple[str, ...] = setting((), "names of Dassl's transforms, in training", must=_ANY)
    no_transform: bool = setting(False, "images as they are", must=Must(lambda value: not value, "False for a CLIP"))
    pixel_mean: tuple[float, ...] = setting(
        (0.485, 0.456, 0.406), "per channel", must=Must(lambda value: _all(value, _finite, 3), "three numbers")
    )
    pixel_std: tuple[float, ...] = setting(
        (0.229, 0.224, 0.225),
        "per channel",
        must=Must(lambda value: _all(value, lambda one: _finite(one) and one > 0, 3), "three numbers above 0"),
    )
    crop_padding: int = setting(4, "pixels around the image for random_crop", must=_between(0, 10**4))
    rrcrop_scale: tuple[float, ...] = setting(
        (0.08, 1.0),
        "shares of the area for random_resized_crop",
        must=Must(_is_share_of_area, "two shares of the area, above 0, at most 1, the smaller first"),
    )
    cutout_n: int = setting(1, "holes of cutout", must=_between(0, 10**4))
    cutout_len: int = setting(16, "their side in pixels", must=_between(1, 10**4))
    gn_mean: float = setting(0.0, "of gaussian_noise", must=Must(_finite, "a finite number"))
    gn_std: float = setting(0.15, "of gaussian_noise", must=_FROM_0)
    randaugment_n: int = setting(2, "operations of randaugment", must=_between(0, 100))
    randaugment_m: int = setting(10, "their strength", must=_between(0, 30))
    colorjitter_b: float = setting(0.4, "brightness", must=_FROM_0)
    colorjitter_c: float = setting(0.4, "contrast", must=_FROM_0)
    colorjitter_s: float = setting(0.4, "saturation", must=_FROM_0)
    colorjitter_h: float = setting(0.1, "hue", must=_between(0, 0.5))
    rgs_p: float = setting(0.2, "probability of randomgrayscale", must=_SHARE)
    gb_p: float = setting(0.5, "probability of gaussian_blur", must=_SHARE)
    gb_k: int = setting(21, "its kernel's side in pixels", must=_ODD)

    def check(self) -> None:
        """Refuse a blur that is wider than the image."""
        if "gaussian_blur" in self.transforms and self.gb_k // 2 >= min(self.size):
            raise SettingError([("GB_K", f" must be below twice INPUT.SIZE, {min(self.size)}, got {self.gb_k}")])


@dataclass(frozen=True, repr=False)
class ImagesOfCLIP(Input):
    """And what CLIPs need; like size, interpolation, mean and std, the resize mode follows the weights."""

    resize_mode: str = setting(
        SHORTEST, "shortest: the shorter side is scaled to SIZE; squash: both", must=_one_of(SHORTEST, SQUASH)
    )
    read_as: str = setting(
        FAMILY, "the rule by which image files are read; people is the one for one's own images", must=_one_of(*RULES)
    )


@dataclass(frozen=True, repr=False)
class DasslDataset(Configured):
    """Which images."""

    node = "DATASET"

    root: str = setting("", "folder of the data sets")
    name: str = setting("", "of its registered reader")
    source_domains: tuple[str, ...] = setting((), "domains to train on", must=_LIST)
    target_domains: tuple[str, ...] = setting((), "domains to test on", must=_LIST)
    num_labeled: int = setting(-1, "labelled images of semi-supervised readers")
    num_shots: int = setting(-1, "training images per class; below 1: all")
    val_percent: float = setting(0.1, "share that some readers hold out")
    stl10_fold: int = setting(-1, "of STL-10")
    cifar_c_type: str = setting("", "of CIFAR-C")
    cifar_c_level: int = setting(1, "of CIFAR-C")
    all_as_unlabeled: bool = setting(False, "of semi-supervised readers")


@dataclass(frozen=True, repr=False)
class Dataset(DasslDataset):
    """And what the family and we have besides Dassl."""

    subsample_classes: str = setting("all", "all, or the base or new half of the classes")
    reference_names: bool = setting(False, "Caltech256: class names cut at hyphens, as the reference has them")
    val_from_test: bool = setting(
        False, "if there are no validation images, choose on test images, as the family does, not on held-out ones"
    )
    val_first: bool = setting(
        False, "draw few-shot lists of validation images before those of training, as CLIP-LoRA does"
    )
    reader: str = setting("", "set by --host: which reader of a codebase is used")
    choose_by: str = setting("", "set for a run whose method chooses by validation images, see io/images.py")


@dataclass(frozen=True, repr=False)
class Loading(Configured):
    """How images are loaded."""

    node = "DATALOADER"

    num_workers: int = setting(4, "processes that decode images", must=_between(0, 1024))
    k_transforms: int = setting(1, "views of an image", must=Must(lambda value: value == 1, "1"))
    return_img0: bool = setting(False, "also the image without augmentation")
    keep_images: bool = setting(False, "decode each training image once")


@dataclass(frozen=True, repr=False)
class TrainX(Configured):
    """Batches of training."""

    node = "DATALOADER.TRAIN_X"

    sampler: str = setting("RandomSampler", "Dassl's name of it")
    batch_size: int = setting(32, "images of a batch", must=_COUNT)
    n_domain: int = setting(0, "domains of a batch")
    n_ins: int = setting(16, "images of a class or domain in a batch")


@dataclass(frozen=True, repr=False)
class TrainU(TrainX):
    """Batches without labels."""

    node = "DATALOADER.TRAIN_U"

    same_as_x: bool = setting(True, "sampled as those with labels")


@dataclass(frozen=True, repr=False)
class EvalLoader(Configured):
    """Batches of tests."""

    node = "DATALOADER.TEST"

    sampler: str = setting("SequentialSampler", "Dassl's name of it")
    batch_size: int = setting(32, "images of a batch", must=_COUNT)


@dataclass(frozen=True, repr=False)
class DasslModel(Configured):
    """What is trained."""

    node = "MODEL"

    init_weights: str = setting("", "a file that what is learned begins from")


@dataclass(frozen=True, repr=False)
class Model(DasslModel):
    """And how it is computed."""

    text_chunk: int = setting(0, "classes whose text side is computed at a time; 0: as memory allows", must=_FROM_0)
    deterministic: bool = setting(False, "every operation repeats its numbers, also on a GPU, where that costs time")
    compile: str = setting(
        "",
        "default or reduce-overhead: encoders through torch.compile",
        must=Must(lambda value: value in ("", "default", "reduce-overhead"), "default or reduce-overhead, or empty"),
    )


@dataclass(frozen=True, repr=False)
class DasslBackbone(Configured):
    """Which CLIP."""

    node = "MODEL.BACKBONE"

    name: str = setting("", "as modprompt backbones lists them")
    pretrained: bool = setting(True, "always for a CLIP")


@dataclass(frozen=True, repr=False)
class Backbone(DasslBackbone):
    """And what a file may not say."""

    path: str = setting("", "a file or folder of weights, in place of the name")
    activation: str = setting("", "quick_gelu or gelu, for a file of which nothing else says it", must=_ANY)
    heads: tuple[int, ...] = setting((), "the same: attention heads of text and image side", must=_ANY)
    model: str = setting("", "the same: open_clip's name of the model, as ViT-B-16-SigLIP2, or with its tag", must=_ANY)


@dataclass(frozen=True, repr=False)
class Head(Configured):
    """Dassl's heads of networks other than CLIP."""

    node = "MODEL.HEAD"

    name: str = setting("", "of the head")
    hidden_layers: tuple[int, ...] = setting((), "their widths", must=_LIST)
    activation: str = setting("relu", "between layers")
    bn: bool = setting(True, "batch norm")
    dropout: float = setting(0.0, "its rate")


@dataclass(frozen=True, repr=False)
class Optim(Configured):
    """The optimiser, and its learning rates by epoch."""

    node = "OPTIM"

    name: str = setting("adam", "Dassl's name of it")
    lr: float = setting(0.0003, "learning rate", must=_FROM_0)
    weight_decay: float = setting(5e-4, "of all that is trained", must=_FROM_0)
    momentum: float = setting(0.9, "of sgd and rmsprop", must=_SHARE)
    sgd_dampning: float = setting(0, "of sgd", must=_SHARE)
    sgd_nesterov: bool = setting(False, "of sgd")
    rmsprop_alpha: float = setting(0.99, "of rmsprop", must=_SHARE)
    adam_beta1: float = setting(0.9, "of adam", must=_BELOW_1)
    adam_beta2: float = setting(0.999, "of adam", must=_BELOW_1)
    staged_lr: bool = setting(False, "NEW_LAYERS at the full learning rate, all others at BASE_LR_MULT of it")
    new_layers: tuple[str, ...] = setting((), "see STAGED_LR", must=_LIST)
    base_lr_mult: float = setting(0.1, "see STAGED_LR", must=_FROM_0)
    lr_scheduler: str = setting("single_step", "Dassl's name of it")
    stepsize: Any = setting((-1,), "epochs after which the learning rate falls", must=_EPOCHS)
    gamma: float = setting(0.1, "factor by which it falls", must=_FROM_0)
    max_epoch: int = setting(10, "epochs", must=_COUNT)
    warmup_epoch: int = setting(-1, "epochs of warm-up", must=_between(-math.inf, _MANY, f"at most {_MANY}"))
    warmup_type: str = setting("linear", "linear or constant")
    warmup_cons_lr: float = setting(1e-5, "learning rate of a constant warm-up", must=_FROM_0)
    warmup_min_lr: float = setting(1e-5, "first learning rate of a linear warm-up", must=_FROM_0)
    warmup_recount: bool = setting(True, "after the warm-up the schedule starts at its epoch 0")


@dataclass(frozen=True, repr=False)
class Train(Configured):
    """What a training leaves and prints."""

    node = "TRAIN"

    checkpoint_freq: int = setting(0, "epochs between checkpoints that stay; 0: none")
    print_freq: int = setting(10, "steps between lines of the log", must=_between(1, math.inf, "at least 1"))
    count_iter: str = setting("train_x", "whose batches make an epoch")


@dataclass(frozen=True, repr=False)
class DasslTest(Configured):
    """How models are tested."""

    node = "TEST"

    evaluator: str = setting("Classification", "Dassl's name of it")
    per_class_result: bool = setting(False, "also the accuracy of each class")
    compute_cmat: bool = setting(False, "also the confusion matrix")
    no_test: bool = setting(False, "do not test")
    split: str = setting("test", "the images of the test", must=_one_of("test", "val"))
    final_model: str = setting("last_step", "which is tested", must=_one_of("last_step", "best_val"))


@dataclass(frozen=True, repr=False)
class Test(DasslTest):
    """And what is kept for tests, or from them."""

    only: bool = setting(False, "set if nothing is trained, by --eval-only or a zero-shot trainer")
    image_cache: str = setting("", "folder for decoded, resized and cropped test images; empty: none")
    keep_features: bool = setting(False, "keep the test's image features with its other files")
    features_of: str = setting("", "output folders of tests that kept those of all images, separated by colons")
    base_new: bool = setting(False, "in a test of all classes: also the accuracies of base and of new images")


@dataclass(frozen=True, repr=False)
class TopLevel(Configured):
    """Settings outside of nodes."""

    version: int = setting(1, "of Dassl's configurations")
    output_dir: str = setting("./output", "folder of a run")
    resume: str = setting("", "folder to go on from, if not the output folder")
    seed: int = setting(-1, "negative for none", must=_SEED)
    use_cuda: bool = setting(True, "compute on a GPU if there is one")
    verbose: bool = setting(True, "print the data set's sizes")


@dataclass(frozen=True, repr=False)
class RunSettings(TopLevel):
    """The settings of every run as typed values: config.optim.lr is OPTIM.LR, config.seed SEED.

    `RunSettings.read` makes it of a configuration.
    """

    input: ImagesOfCLIP = ImagesOfCLIP()
    dataset: Dataset = Dataset()
    dataloader: Loading = Loading()
    train_x: TrainX = TrainX()
    train_u: TrainU = TrainU()
    test_loader: EvalLoader = EvalLoader()
    model: Model = Model()
    backbone: Backbone = Backbone()
    head: Head = Head()
    optim: Optim = Optim()
    train: Train = Train()
    test: Test = Test()
    trainer: str = ""

    @classmethod
    def read(cls: type[S], cfg: Mapping[str, Any]) -> S:
        """A configuration's settings, unchecked; missing ones have their defaults.

        In another codebase's program they may have values that ours would refuse (require_possible).
        """
        one = _as_they_are(cls, TopLevel, cfg)
        for name, node in _nodes():
            object.__setattr__(one, name, _as_they_are(node, node, cfg))
        object.__setattr__(one, "trainer", cfg["TRAINER"]["NAME"])
        return one


def _nodes() -> list[tuple[str, Any]]:
    """(attribute of RunSettings, class) of each node."""
    return [(one.name, one.type) for one in fields(RunSettings) if not one.metadata and one.name != "trainer"]


def _as_they_are(cls: type[C], of: type[Configured], cfg: Mapping[str, Any]) -> C:
    made, there = object.__new__(cls), _there(of, cfg)
    for one in of.settings():
        value = there.get(one.key, one.default)
        object.__setattr__(made, one.field, tuple(value) if isinstance(value, list) else value)
    return made


def require_possible(cfg: Mapping[str, Any]) -> None:
    """Raise SettingError, naming all, if a configuration has values that no run can have."""
    faults: list[tuple[str, str]] = []
    for node in (TopLevel, *(cls for _, cls in _nodes())):
        try:
            node.of(_there(node, cfg))
        except SettingError as error:
            faults += (error.under(node.node) if node.node else error).faults
    if faults:
        raise SettingError(faults)


def _there(cls: type[Configured], cfg: Mapping[str, Any]) -> dict[str, Any]:
    """A node's settings in a configuration, by key."""
    for part in filter(None, cls.node.split(".")):
        cfg = cfg.get(part, {})
    return cls.in_node(cfg)


DASSL: Sequence[type[Configured]] = (
    TopLevel, Input, DasslDataset, Loading, TrainX, TrainU, EvalLoader, DasslModel, DasslBackbone, Head, Optim, Train,
    DasslTest,
)  # fmt: skip
BESIDE_DASSL: Sequence[type[Configured]] = (Dataset, Test, Model, Backbone, ImagesOfCLIP)  # with Dassl's of the node
