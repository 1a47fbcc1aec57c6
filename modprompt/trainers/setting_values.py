"""Values of Dassl's and the family's settings that no run can have: told before any work, each by its setting's name.

What a number must be to mean something is said here; names of optimisers, schedules and samplers are Dassl's to know.
"""

import math
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Tuple

import dassl.data.transforms.transforms as known_transforms
from yacs.config import CfgNode

from modprompt.clip.design import SHORTEST, SQUASH
from modprompt.io.image_rules import RULES
from modprompt.io.settings import level_of

Fault = Tuple[str, str]  # a setting's dotted key, and what is wrong with it
_INTERPOLATIONS = ("bilinear", "bicubic", "nearest")
_MANY = 10**6  # epochs, images of a batch: more would be computed for ever, or not fit anywhere


class _Rule(NamedTuple):
    """What the values of a setting must be."""

    fits: Callable[[Any], bool]
    meaning: str


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf


def _between(least: float, most: float, meaning: str = "") -> _Rule:
    what = meaning or (f"from {least:g} to {most:g}" if most < math.inf else f"a number from {least:g} up")
    return _Rule(lambda value: _finite(value) and least <= value <= most, what)


def _one_of(*choices: str) -> _Rule:
    return _Rule(lambda value: value in choices, f"{', '.join(choices[:-1])} or {choices[-1]}")


def _all(values: Any, fits: Callable[[Any], bool], count: int) -> bool:
    return isinstance(values, (list, tuple)) and len(values) == count and all(map(fits, values))


def _is_share_of_area(value: Any) -> bool:
    return _all(value, _finite, 2) and 0 < value[0] <= value[1] <= 1


_SHARE, _FROM_0 = _between(0, 1), _between(0, math.inf)
_COUNT = _between(1, _MANY, f"at least 1 and at most {_MANY}")
_BELOW_1 = _Rule(lambda value: _finite(value) and 0 <= value < 1, "from 0 up and below 1")
_RULES: Dict[str, _Rule] = {
    "SEED": _Rule(lambda value: isinstance(value, int) and value < 2**32, "below 2**32; negative for none"),
    "INPUT.SIZE": _Rule(
        lambda value: _all(value, lambda side: isinstance(side, int) and 0 < side <= 10**4, 2), "two numbers of pixels"
    ),
    "INPUT.PIXEL_MEAN": _Rule(lambda value: _all(value, _finite, 3), "three numbers"),
    "INPUT.PIXEL_STD": _Rule(
        lambda value: _all(value, lambda one: _finite(one) and one > 0, 3), "three numbers above 0"
    ),
    "INPUT.INTERPOLATION": _one_of(*_INTERPOLATIONS),
    "INPUT.RESIZE_MODE": _one_of(SHORTEST, SQUASH),
    "INPUT.READ_AS": _one_of(*RULES),
    "INPUT.NO_TRANSFORM": _Rule(lambda value: not value, "False for a CLIP"),
    "INPUT.MAX_MEGAPIXELS": _Rule(lambda value: _finite(value) and value > 0, "a number above 0"),
    "INPUT.CROP_PADDING": _between(0, 10**4),
    "INPUT.RRCROP_SCALE": _Rule(_is_share_of_area, "two shares of the area, above 0, at most 1, the smaller first"),
    "INPUT.CUTOUT_N": _between(0, 10**4),
    "INPUT.CUTOUT_LEN": _between(1, 10**4),
    "INPUT.GN_MEAN": _Rule(_finite, "a finite number"),
    "INPUT.GN_STD": _FROM_0,
    "INPUT.RANDAUGMENT_N": _between(0, 100),
    "INPUT.RANDAUGMENT_M": _between(0, 30),
    "INPUT.COLORJITTER_B": _FROM_0,
    "INPUT.COLORJITTER_C": _FROM_0,
    "INPUT.COLORJITTER_S": _FROM_0,
    "INPUT.COLORJITTER_H": _between(0, 0.5),
    "INPUT.RGS_P": _SHARE,
    "INPUT.GB_P": _SHARE,
    "INPUT.GB_K": _Rule(lambda value: isinstance(value, int) and 0 < value < 10**4 and value % 2 == 1, "an odd number"),
    "DATALOADER.K_TRANSFORMS": _Rule(lambda value: value == 1, "1"),
    "DATALOADER.NUM_WORKERS": _between(0, 1024),
    "DATALOADER.TRAIN_X.BATCH_SIZE": _COUNT,
    "DATALOADER.TRAIN_U.BATCH_SIZE": _COUNT,
    "DATALOADER.TEST.BATCH_SIZE": _COUNT,
    "MODEL.TEXT_CHUNK": _FROM_0,
    "OPTIM.LR": _FROM_0,
    "OPTIM.WEIGHT_DECAY": _FROM_0,
    "OPTIM.MOMENTUM": _SHARE,
    "OPTIM.SGD_DAMPNING": _SHARE,
    "OPTIM.RMSPROP_ALPHA": _SHARE,
    "OPTIM.ADAM_BETA1": _BELOW_1,
    "OPTIM.ADAM_BETA2": _BELOW_1,
    "OPTIM.BASE_LR_MULT": _FROM_0,
    "OPTIM.STEPSIZE": _Rule(
        lambda value: isinstance(value, int) or _all(value, lambda one: isinstance(one, int), len(value)),
        "whole numbers of epochs",
    ),
    "OPTIM.GAMMA": _FROM_0,
    "OPTIM.MAX_EPOCH": _COUNT,
    "OPTIM.WARMUP_EPOCH": _between(-math.inf, _MANY, f"at most {_MANY}"),
    "OPTIM.WARMUP_CONS_LR": _FROM_0,
    "OPTIM.WARMUP_MIN_LR": _FROM_0,
    "TRAIN.PRINT_FREQ": _between(1, math.inf, "at least 1"),
    "TEST.SPLIT": _one_of("test", "val"),
    "TEST.FINAL_MODEL": _one_of("last_step", "best_val"),
}


def faults(cfg: CfgNode) -> Iterator[Fault]:
    """Settings whose faults would otherwise show late or not at all, or as an error of another library."""
    for key, rule in _RULES.items():
        node, name = level_of(cfg, key)
        if node is not None and name in node and not rule.fits(node[name]):
            yield key, f"{key} must be {rule.meaning}, got {node[name]!r}"
    yield from _transform_faults(cfg.INPUT)


def _transform_faults(node: Mapping[str, Any]) -> Iterator[Fault]:
    asked = node["TRANSFORMS"]
    known: List[str] = list(known_transforms.AVAI_CHOICES)
    if not isinstance(asked, (list, tuple)):
        yield "INPUT.TRANSFORMS", f"INPUT.TRANSFORMS must be a list of names, got {asked!r}"
        return
    for name in asked:
        if name not in known:
            yield "INPUT.TRANSFORMS", f"INPUT.TRANSFORMS: there is no {name!r} (known: {', '.join(known)})"
    size, kernel = node["SIZE"], node["GB_K"]
    if "gaussian_blur" in asked and _all(size, _finite, 2) and _finite(kernel) and kernel // 2 >= min(size):
        yield "INPUT.GB_K", f"INPUT.GB_K must be below twice INPUT.SIZE, {min(size)}, got {kernel}"
