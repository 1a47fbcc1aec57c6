"""Dassl 0.6.3's defaults: the small Dassl has them, and they decide numbers whichever Dassl there is.

A codebase's own may have others: TEST.FINAL_MODEL best_val in HiCroPL's, whose validation then moves the generators.

A key that is not here, or added by a trainer, cannot be set with the small one.
"""

from typing import Any, Dict, NamedTuple

from yacs.config import CfgNode

from modprompt.io.settings import FLAGS, as_text, flat, free, level_of


def _node(**values: Any) -> CfgNode:
    node = CfgNode()
    for key, value in values.items():
        node[key] = value
    return node


DEFAULTS = _node(VERSION=1, OUTPUT_DIR="./output", RESUME="", SEED=-1, USE_CUDA=True, VERBOSE=True)

DEFAULTS.INPUT = _node(
    SIZE=(224, 224),
    INTERPOLATION="bilinear",  # or bicubic, nearest
    TRANSFORMS=(),
    NO_TRANSFORM=False,
    PIXEL_MEAN=[0.485, 0.456, 0.406],
    PIXEL_STD=[0.229, 0.224, 0.225],
    CROP_PADDING=4,  # pixels around the image for random_crop
    RRCROP_SCALE=(0.08, 1.0),  # share of the area for random_resized_crop
    CUTOUT_N=1,
    CUTOUT_LEN=16,
    GN_MEAN=0.0,  # gaussian_noise
    GN_STD=0.15,
    RANDAUGMENT_N=2,
    RANDAUGMENT_M=10,
    COLORJITTER_B=0.4,
    COLORJITTER_C=0.4,
    COLORJITTER_S=0.4,
    COLORJITTER_H=0.1,
    RGS_P=0.2,  # probability of randomgrayscale
    GB_P=0.5,  # probability of gaussian_blur, and its kernel size (odd)
    GB_K=21,
)

DEFAULTS.DATASET = _node(
    ROOT="",
    NAME="",
    SOURCE_DOMAINS=(),
    TARGET_DOMAINS=(),
    NUM_LABELED=-1,
    NUM_SHOTS=-1,  # training images per class; below 1: all
    VAL_PERCENT=0.1,
    STL10_FOLD=-1,
    CIFAR_C_TYPE="",
    CIFAR_C_LEVEL=1,
    ALL_AS_UNLABELED=False,
)

_SAMPLING = {"SAMPLER": "RandomSampler", "BATCH_SIZE": 32, "N_DOMAIN": 0, "N_INS": 16}
DEFAULTS.DATALOADER = _node(NUM_WORKERS=4, K_TRANSFORMS=1, RETURN_IMG0=False, KEEP_IMAGES=False)
DEFAULTS.DATALOADER.TRAIN_X = _node(**_SAMPLING)
DEFAULTS.DATALOADER.TRAIN_U = _node(SAME_AS_X=True, **_SAMPLING)
DEFAULTS.DATALOADER.TEST = _node(SAMPLER="SequentialSampler", BATCH_SIZE=32)

DEFAULTS.MODEL = _node(INIT_WEIGHTS="")
DEFAULTS.MODEL.BACKBONE = _node(NAME="", PRETRAINED=True)
DEFAULTS.MODEL.HEAD = _node(NAME="", HIDDEN_LAYERS=(), ACTIVATION="relu", BN=True, DROPOUT=0.0)

DEFAULTS.OPTIM = _node(
    NAME="adam",
    LR=0.0003,
    WEIGHT_DECAY=5e-4,
    MOMENTUM=0.9,
    SGD_DAMPNING=0,
    SGD_NESTEROV=False,
    RMSPROP_ALPHA=0.99,
    ADAM_BETA1=0.9,
    ADAM_BETA2=0.999,
    STAGED_LR=False,  # NEW_LAYERS at the full rate, all others at BASE_LR_MULT of it
    NEW_LAYERS=(),
    BASE_LR_MULT=0.1,
    LR_SCHEDULER="single_step",
    STEPSIZE=(-1,),
    GAMMA=0.1,
    MAX_EPOCH=10,
    WARMUP_EPOCH=-1,
    WARMUP_TYPE="linear",  # or constant
    WARMUP_CONS_LR=1e-5,
    WARMUP_MIN_LR=1e-5,
    WARMUP_RECOUNT=True,  # the schedule proper starts at its epoch 0 after the warm-up
)

DEFAULTS.TRAIN = _node(CHECKPOINT_FREQ=0, PRINT_FREQ=10, COUNT_ITER="train_x")

DEFAULTS.TEST = _node(
    EVALUATOR="Classification",
    PER_CLASS_RESULT=False,
    COMPUTE_CMAT=False,
    NO_TEST=False,
    SPLIT="test",
    FINAL_MODEL="last_step",  # or best_val
)

DEFAULTS.TRAINER = _node(NAME="")

_OWNED = ("DATASET.", "VERSION", "USE_CUDA")  # by data sets' files; by nobody


class Default(NamedTuple):
    """A default of a Dassl, and what Dassl 0.6.3 has in its place."""

    found: Any
    pinned: Any


def pinned() -> Dict[str, Any]:
    """By dotted key; flags, data sets' files and settings that decide no number have theirs elsewhere."""
    decides_nothing = {*FLAGS, *free()}
    deciding = {key: value for key, value in flat(DEFAULTS).items() if key not in decides_nothing}
    return {key: value for key, value in deciding.items() if not key.startswith(_OWNED)}


def differing(defaults: Any) -> Dict[str, Default]:
    """The defaults of a configuration that are others than Dassl 0.6.3's; what it lacks is left out."""
    found = flat(defaults)
    both = {key: Default(found[key], value) for key, value in pinned().items() if key in found}
    return {key: one for key, one in both.items() if as_text(one.found) != as_text(one.pinned)}


def pin(defaults: Any) -> None:
    """Give a configuration Dassl 0.6.3's defaults, in place."""
    for key, one in differing(defaults).items():
        node, name = level_of(defaults, key)
        node[name] = one.pinned
