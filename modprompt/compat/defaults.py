"""The settings that every run has, each once: Dassl 0.6.3's defaults, ours beside them, and the bounds of both.

Dassl's defaults decide numbers with every Dassl, and a codebase's own may have others: HiCroPL's has TEST.FINAL_MODEL
best_val, whose validation draws random numbers. With the small Dassl a key can only be set if it is here or a trainer
adds it.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from yacs.config import CfgNode

from modprompt.clip.spec import SHORTEST, SQUASH
from modprompt.errors import SettingError
from modprompt.fields import Must
from modprompt.io.identity import FREE
from modprompt.io.image_files import FAMILY, RULES
from modprompt.io.settings import FLAGS, as_text, flat, level_of

# fmt: off
DEFAULTS = CfgNode({
    "VERSION": 1, "OUTPUT_DIR": "./output", "RESUME": "", "SEED": -1, "USE_CUDA": True, "VERBOSE": True,
    "INPUT": {
        "SIZE": (224, 224), "INTERPOLATION": "bilinear", "TRANSFORMS": (), "NO_TRANSFORM": False,
        "PIXEL_MEAN": [0.485, 0.456, 0.406], "PIXEL_STD": [0.229, 0.224, 0.225],
        "CROP_PADDING": 4, "RRCROP_SCALE": (0.08, 1.0), "CUTOUT_N": 1, "CUTOUT_LEN": 16, "GN_MEAN": 0.0, "GN_STD": 0.15,
        "RANDAUGMENT_N": 2, "RANDAUGMENT_M": 10, "COLORJITTER_B": 0.4, "COLORJITTER_C": 0.4, "COLORJITTER_S": 0.4,
        "COLORJITTER_H": 0.1, "RGS_P": 0.2, "GB_P": 0.5, "GB_K": 21,
    },
    "DATASET": {
        "ROOT": "", "NAME": "", "SOURCE_DOMAINS": (), "TARGET_DOMAINS": (), "NUM_LABELED": -1, "NUM_SHOTS": -1,
        "VAL_PERCENT": 0.1, "STL10_FOLD": -1, "CIFAR_C_TYPE": "", "CIFAR_C_LEVEL": 1, "ALL_AS_UNLABELED": False,
    },
    "DATALOADER": {
        "NUM_WORKERS": 4, "K_TRANSFORMS": 1, "RETURN_IMG0": False, "KEEP_IMAGES": False,  # the last is ours
        "TRAIN_X": {"SAMPLER": "RandomSampler", "BATCH_SIZE": 32, "N_DOMAIN": 0, "N_INS": 16},
        "TRAIN_U": {"SAMPLER": "RandomSampler", "BATCH_SIZE": 32, "N_DOMAIN": 0, "N_INS": 16, "SAME_AS_X": True},
        "TEST": {"SAMPLER": "SequentialSampler", "BATCH_SIZE": 32},
    },
    "MODEL": {
        "INIT_WEIGHTS": "", "BACKBONE": {"NAME": "", "PRETRAINED": True},
        "HEAD": {"NAME": "", "HIDDEN_LAYERS": (), "ACTIVATION": "relu", "BN": True, "DROPOUT": 0.0},
    },
    "OPTIM": {
        "NAME": "adam", "LR": 0.0003, "WEIGHT_DECAY": 5e-4, "MOMENTUM": 0.9, "SGD_DAMPNING": 0, "SGD_NESTEROV": False,
        "RMSPROP_ALPHA": 0.99, "ADAM_BETA1": 0.9, "ADAM_BETA2": 0.999,
        "STAGED_LR": False, "NEW_LAYERS": (), "BASE_LR_MULT": 0.1,
        "LR_SCHEDULER": "single_step", "STEPSIZE": (-1,), "GAMMA": 0.1, "MAX_EPOCH": 10,
        "WARMUP_EPOCH": -1, "WARMUP_TYPE": "linear", "WARMUP_CONS_LR": 1e-5, "WARMUP_MIN_LR": 1e-5,
        "WARMUP_RECOUNT": True,
    },
    "TRAIN": {"CHECKPOINT_FREQ": 0, "PRINT_FREQ": 10, "COUNT_ITER": "train_x"},
    "TEST": {
        "EVALUATOR": "Classification", "PER_CLASS_RESULT": False, "COMPUTE_CMAT": False, "NO_TEST": False,
        "SPLIT": "test", "FINAL_MODEL": "last_step",
    },
    "TRAINER": {"NAME": ""},
})
# fmt: on
OURS = CfgNode(  # and the family's, beside any Dassl's
    {
        "DATASET": {
            "SUBSAMPLE_CLASSES": "all",  # or the base or new half of the classes
            "SHOTS_BY_CLASS": "",  # in place of NUM_SHOTS: a CSV file with the columns class and shots
            "REFERENCE_NAMES": False,  # Caltech256: class names cut at hyphens, as the reference has them
            "VAL_FROM_TEST": False,  # without validation images choose on test images, as the family, not on held-out
            "TRAIN_ON_VAL": False,  # with all images, and nothing selected on validation images: these train, too
            "VAL_FIRST": False,  # draw few-shot lists of validation before those of training, as CLIP-LoRA does
            "READER": "",  # set by --host: which reader of a codebase is used
            "CHOOSE_BY": "",  # set for a run whose method chooses by validation images, see io/images.py
        },
        "TEST": {
            "ONLY": False,  # set if nothing is trained, by --eval-only or a zero-shot trainer
            "IMAGE_CACHE": "",  # folder for decoded, resized and cropped test images; empty: none
            "KEEP_FEATURES": False,  # keep the test's image features with its other files
            "FEATURES_OF": "",  # output folders of tests that kept those of all images, separated by colons
            "OOD": "",  # also known classes against unknown ones: new, or a data set (trainers/unknown_classes.py)
            "BASE_NEW": False,  # in a test of all classes: also the accuracies of base and of new images
        },
        "MODEL": {
            "TEXT_CHUNK": 0,  # classes whose text side is computed at a time; 0: as memory allows
            "DETERMINISTIC": False,  # every operation repeats its numbers, also on a GPU, where that costs time
            "BACKBONE": {
                "PATH": "",  # a file or folder of weights, in place of the name
                "ACTIVATION": "",  # quick_gelu or gelu, for a file of which nothing else says it
                "HEADS": (),  # the same: attention heads of text and image side
                "MODEL": "",  # the same: open_clip's name of the model, as ViT-B-16-SigLIP2, or with its tag
            },
        },
        "INPUT": {
            "RESIZE_MODE": SHORTEST,  # shortest: the shorter side is scaled to SIZE; squash: both; follows the weights
            "DECODING": FAMILY,  # the rule by which image files are read; people is the one for one's own images
        },
    }
)

_MANY = 10**6  # epochs, images of a batch: more would run for ever, or fit no memory


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf


def _between(least: float, most: float, meaning: str = "") -> Must:
    what = meaning or (f"a number from {least:g} to {most:g}" if most < math.inf else f"a number of at least {least:g}")
    return Must(lambda value: _finite(value) and least <= value <= most, what)


def _one_of(*choices: str) -> Must:
    return Must(lambda value: value in choices, f"{', '.join(choices[:-1])} or {choices[-1]}")


def _all(values: Any, fits: Any, count: int) -> bool:
    return isinstance(values, (list, tuple)) and len(values) == count and all(map(fits, values))


_SHARE, _FROM_0, _FINITE = _between(0, 1), _between(0, math.inf), Must(_finite, "a finite number")
_COUNT = _between(1, _MANY, f"at least 1 and at most {_MANY}")
_BELOW_1 = Must(lambda value: _finite(value) and 0 <= value < 1, "a number of at least 0 and less than 1")
_BOUNDS = {  # of the settings that the type of their default does not bound
    "SEED": Must(
        lambda value: isinstance(value, int) and value < 2**32,
        "a whole number below 2**32 (a negative number sets no seed)",
    ),
    "INPUT.RESIZE_MODE": _one_of(SHORTEST, SQUASH),
    "INPUT.DECODING": _one_of(*RULES),
    "INPUT.SIZE": Must(
        lambda value: _all(value, lambda one: isinstance(one, int) and 0 < one <= 10**4, 2),
        "two whole numbers of pixels, from 1 to 10000",
    ),
    "INPUT.INTERPOLATION": _one_of("bilinear", "bicubic", "nearest"),
    "INPUT.NO_TRANSFORM": Must(lambda value: not value, "False for CLIP models"),
    "INPUT.PIXEL_MEAN": Must(lambda value: _all(value, _finite, 3), "three numbers"),
    "INPUT.PIXEL_STD": Must(
        lambda value: _all(value, lambda one: _finite(one) and one > 0, 3), "three numbers above 0"
    ),
    "INPUT.CROP_PADDING": _between(0, 10**4),
    "INPUT.RRCROP_SCALE": Must(
        lambda value: _all(value, _finite, 2) and 0 < value[0] <= value[1] <= 1,
        "two fractions of the image area, greater than 0 and at most 1, with the smaller fraction first",
    ),
    "INPUT.CUTOUT_N": _between(0, 10**4),
    "INPUT.CUTOUT_LEN": _between(1, 10**4),
    "INPUT.GN_MEAN": _FINITE,
    "INPUT.GN_STD": _FROM_0,
    "INPUT.RANDAUGMENT_N": _between(0, 100),
    "INPUT.RANDAUGMENT_M": _between(0, 30),
    **dict.fromkeys(("INPUT.COLORJITTER_B", "INPUT.COLORJITTER_C", "INPUT.COLORJITTER_S"), _FROM_0),
    "INPUT.COLORJITTER_H": _between(0, 0.5),
    "INPUT.RGS_P": _SHARE,
    "INPUT.GB_P": _SHARE,
    "INPUT.GB_K": Must(lambda value: isinstance(value, int) and 0 < value < 10**4 and value % 2 == 1, "an odd number"),
    "DATASET.VAL_PERCENT": _FINITE,
    "DATALOADER.NUM_WORKERS": _between(0, 1024),
    "DATALOADER.K_TRANSFORMS": Must(lambda value: value == 1, "1"),
    **{f"DATALOADER.{name}.BATCH_SIZE": _COUNT for name in ("TRAIN_X", "TRAIN_U", "TEST")},
    "MODEL.TEXT_CHUNK": _FROM_0,
    "MODEL.HEAD.DROPOUT": _FINITE,
    **dict.fromkeys(("OPTIM.LR", "OPTIM.WEIGHT_DECAY"), _FROM_0),
    **dict.fromkeys(("OPTIM.MOMENTUM", "OPTIM.SGD_DAMPNING", "OPTIM.RMSPROP_ALPHA"), _SHARE),
    **dict.fromkeys(("OPTIM.ADAM_BETA1", "OPTIM.ADAM_BETA2"), _BELOW_1),
    "OPTIM.BASE_LR_MULT": _FROM_0,
    "OPTIM.STEPSIZE": Must(
        lambda value: isinstance(value, int) or _all(value, lambda one: isinstance(one, int), len(value)),
        "whole numbers of epochs",
    ),
    "OPTIM.GAMMA": _FROM_0,
    "OPTIM.MAX_EPOCH": _COUNT,
    "OPTIM.WARMUP_EPOCH": _between(-math.inf, _MANY, f"at most {_MANY}"),
    **dict.fromkeys(("OPTIM.WARMUP_CONS_LR", "OPTIM.WARMUP_MIN_LR"), _FROM_0),
    "TRAIN.PRINT_FREQ": _between(1, math.inf, "at least 1"),
    "TEST.SPLIT": _one_of("test", "val"),
    "TEST.FINAL_MODEL": _one_of("last_step", "best_val"),
}


def require_possible(cfg: Mapping[str, Any]) -> None:
    """Raise SettingError, naming all, if a configuration has values that no run can have."""
    values = flat(cfg)
    faults = [
        (key, f" must be {must.meaning}, got {values[key]!r}")
        for key, must in _BOUNDS.items()
        if key in values and not must.fits(values[key])
    ]
    images_fit = not any(key.startswith("INPUT.") for key, _ in faults)
    if images_fit and "gaussian_blur" in cfg["INPUT"]["TRANSFORMS"]:
        least, side = min(cfg["INPUT"]["SIZE"]), cfg["INPUT"]["GB_K"]
        if side // 2 >= least:
            faults.append(
                ("INPUT.GB_K", f" must be less than twice the shorter side of INPUT.SIZE ({least} pixels), got {side}")
            )
    if faults:
        raise SettingError(faults)


_OWNED = ("DATASET.", "VERSION", "USE_CUDA")  # set by data sets' files, or not compared


class Default(NamedTuple):
    """A Dassl's default, and that of Dassl 0.6.3."""

    found: Any
    pinned: Any


def differing(defaults: Any) -> dict[str, Default]:
    """The defaults of a configuration that differ from Dassl 0.6.3's, by dotted key, if they decide numbers."""
    found, decides_nothing = flat(defaults), {*FLAGS, *FREE}
    both = {
        key: Default(found[key], value)
        for key, value in flat(DEFAULTS).items()
        if key in found and key not in decides_nothing and not key.startswith(_OWNED)
    }
    return {key: one for key, one in both.items() if as_text(one.found) != as_text(one.pinned)}


def pin(defaults: Any) -> None:
    """Give a configuration Dassl 0.6.3's defaults, in place."""
    for key, one in differing(defaults).items():
        node, name = level_of(defaults, key)
        node[name] = one.pinned
