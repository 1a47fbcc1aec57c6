"""Heads on features that are there already (methods/heads/features.py): fitted and tested in seconds, without a CLIP.

    features = read_features("caches/stanford_cars", "ViT-B/32", classes="head_Cars.pt", split="val")
    fitted = fit(modprompt.TipAdapter(search_hp=False, init_alpha=1.0, init_beta=5.5), features, shots=16)
    print(evaluate(fitted, features).accuracy_pct, fitted.how)

A bank of mean keys is one view. A head that trains gets this view in every epoch, not newly augmented images, and class
features of length 1, where papers have raw ones: such rows say so.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from modprompt.checks import check_name
from modprompt.clip.known import plain
from modprompt.compat import find
from modprompt.errors import SettingError, UserError
from modprompt.io.settings import Settings
from modprompt.methods.heads.base import VAL, Head, cosines
from modprompt.methods.heads.features import NEW, TRAINED, Features
from modprompt.methods.heads.method import Grid, HeadMethod, answered_in
from modprompt.methods.heads.tip_adapter import TipAdapterF, TipAdapterHead
from modprompt.methods.table import BY_NAME, HEADS, config_of, configs_by_clip

find.add_to_path()

from dassl.config import get_cfg_default  # noqa: E402

import modprompt.trainers.all  # noqa: E402, F401 - the nodes of all heads
from modprompt.trainers import config  # noqa: E402
from modprompt.trainers.bank_training import train_on_bank  # noqa: E402
from modprompt.trainers.config import RunConfig, method_of  # noqa: E402
from modprompt.trainers.test_predictions import bins_of, ece_pct, scores  # noqa: E402
from modprompt.trainers.unknown_classes import SCORES, separation  # noqa: E402

ZERO_SHOT = "zero-shot"
SCALE = 100.0  # exp(logit_scale) of OpenAI's CLIPs; features do not say theirs
ON_KEYS = "trained on mean keys, unlike in the paper"
OTHERS = "published trained keys"
_AT_ONCE = 1000  # images that are tested at once
_VAL_SHOTS = 4  # validation images a class for choices, or as many as shots
# settings of heads that need images, texts or another CLIP's files, or choose in a way that papers had and we refuse
_UNREAD = ("PREC", "PROMPTS_FROM", "ENHANCED_BASE", "ENSEMBLE", "UNDERSCORES", "VIEWS", "AUGMENT_EPOCH", "AS_PUBLISHED",
           "SEARCH_ON", "BEST_EPOCH_ON", "ORDERS", "PUBLISHED")  # fmt: skip


def head_names() -> list[str]:
    """The methods that are heads."""
    return [row.name for row in BY_NAME.values() if row.kind == HEADS]


def configured(
    names: Sequence[str], backbone: str, options: Sequence[tuple[str, str]] = ()
) -> list[tuple[HeadMethod, Any]]:
    """Heads' methods, each with the configuration of its training: its config for the CLIP, or else for ViT-B/16.

    Args:
        names: of the methods.
        backbone: name of the CLIP.
        options: KEY VALUE pairs of a head's node, OPTIM, or DATALOADER.TRAIN_X.BATCH_SIZE; for all heads that read it.

    Raises:
        UserError: if there is no such head, or an option is read by none of them, or does not fit.
    """
    for name in names:
        check_name(name, head_names(), "--head")
    for key, _ in options:
        if not any(_reads(name, key) for name in names):
            reason = f"none of the heads reads it ({', '.join(names)})" if names else "no head is selected"
            advice = f"Remove {key}." if names else f"Select a head with --head, or remove {key}."
            raise UserError(f"{key} has no effect because {reason}. {advice}")
    found = []
    for name in dict.fromkeys(names):
        cls: Any = BY_NAME[name].method
        by_clip = configs_by_clip(name)
        file = config_of(name, by_clip.get(plain(backbone), by_clip["ViT-B/16"]))
        own = [word for pair in options if _reads(name, pair[0]) for word in pair]
        cfg = RunConfig.of(get_cfg_default()).clone()
        cfg.defrost()
        config.merge(cfg, Settings.read([str(file)], options=own))
        cfg.freeze()
        try:
            found.append((method_of(cls, cfg.TRAINER[cls.node_name()]), cfg))
        except SettingError as error:
            raise error.under(cls.node) from None
    return found


def _reads(name: str, key: str) -> bool:
    """Whether a head reads a setting, by its dotted key, on features."""
    cls: Any = BY_NAME[name].method
    if key.startswith(f"{cls.node}."):
        return key.rpartition(".")[2] not in _UNREAD
    of_training = key.startswith("OPTIM.") or key == "DATALOADER.TRAIN_X.BATCH_SIZE"
    return of_training and key not in BY_NAME[name].unread and bool(cls().head(("0",), 4).trains)


@dataclass(frozen=True)
class Fitted:
    """A head that is ready for images.

    Attributes:
        name: of its method.
        shots: training images a class; 0 for a head that saw none.
        head: for the classes of the features that it was fitted on.
        scale: of its logits, a scalar.
        kind: ON_KEYS, OTHERS, or empty for a head that trains nothing.
        how: what its settings are, and where they are from.
        in_turn: whether an image's answer depends on the images before it.
        order: of the images then, as HeadMethod.orders_of has it.
    """

    name: str
    shots: int
    head: Head
    scale: Tensor
    kind: str = ""
    how: str = ""
    in_turn: bool = False
    order: int | None = None

    @torch.no_grad()
    def logits(self, features: Features) -> Tensor:
        """Logits (B, C) of the tested images, in their order; of a class that is new to the head, by its text."""
        head = self.head.for_classes(features.names)
        text = head.pooled(features.class_features[:, None])
        answer, images = head.begin(), features.tested.features
        return answered_in(self.order, len(images), _AT_ONCE, lambda some: answer(images[some], text, self.scale), "")


class _ZeroShot(Head):
    """Scaled products with the class features, of images as they are: their energy shows the file's rounding."""

    trains = False

    def forward(self, image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        return scale * image @ text.t()


def zero_shot(features: Features) -> Fitted:
    """The features themselves, without a head; UserError if there are no class features."""
    if features.text is None:
        raise UserError("Zero-shot classification needs class features. Set --classes to the file of class features.")
    return Fitted(ZERO_SHOT, 0, _ZeroShot(features.names), torch.tensor(SCALE))


def fit(
    method: HeadMethod, features: Features, shots: int, *, seed: int = 1, cfg: Any = None, trained_keys: bool = False
) -> Fitted:
    """A head, built from the features' bank of so many shots, trained if it trains, searched if it has a search.

    Args:
        method: of the head.
        features: what it is fitted on; settings are chosen on its `chosen_on`.
        shots: training images a class; not read by a head that needs none.
        seed: of all draws.
        cfg: what `configured` returned; None for the default of the method and the CLIP.
        trained_keys: use the keys that others have trained, in place of a training; Tip-Adapter-F's alone.

    Raises:
        UserError: if the head cannot do with what there is, or its loss is no number.
    """
    name = type(method).__name__
    for one in method.settings():
        if one.key in _UNREAD and getattr(method, one.field) != one.default:
            raise UserError(f"{name} does not support {one.key} on precomputed features. Remove {one.key}.")
    if trained_keys and not isinstance(method, TipAdapterF):
        raise UserError(
            f"{name} does not use trained keys. Only TipAdapterF reads files of the form {TRAINED.format('*')}. Use "
            "TipAdapterF."
        )
    cfg = configured([name], features.backbone)[0][1] if cfg is None else cfg
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    head = method.head(features.names, features.tested.features.shape[1])
    if features.text is None and head.needs_text:
        also = ", or set INIT to RANDOM and CONSTRAINT none" if name == "ADAPTER" else ""
        raise UserError(f"{name} needs class features. Set --classes to the file of class features{also}.")
    needs_images = head.trains or method.passes() > 0
    if needs_images and shots < 1:
        raise UserError(
            f"{name} needs training features, but {features.folder} contains none for {shots} shots. Set a number of "
            "shots for which this folder contains training features."
        )
    shots = shots if needs_images else 0
    bank, scale = features.bank(shots), torch.tensor(method.literal_scale or SCALE)
    head.build(bank, scale)
    kind = ""
    if trained_keys:
        path = str(features.folder / TRAINED.format(shots))
        head.take({**head.state_dict(), "keys": features.trained_keys(shots)}, path)
        kind = OTHERS
    elif head.trains:
        train_on_bank(head, bank, scale, method.epochs(cfg.OPTIM.MAX_EPOCH), cfg, f"{name}, {shots} shots")
        kind = ON_KEYS
    how = _chosen(head, method.grid(), features, scale, shots, seed)
    if not method.in_turn:
        return Fitted(name, shots, head, scale, kind, how)
    order = method.orders_of(seed)[0]
    how = "images in the order of the list" if order is None else f"images in the order of seed {order}"
    return Fitted(name, shots, head, scale, kind, how, method.in_turn, order)


def _chosen(head: Head, grid: Grid | None, features: Features, scale: Tensor, shots: int, seed: int) -> str:
    """Search alpha and beta, if the method has a grid and there are images for it; what they are."""
    if not isinstance(head, TipAdapterHead):
        return ""
    if grid is None or features.chosen_on is None:
        fixed = f"alpha {float(head.alpha):g}, beta {float(head.beta):g}, not selected"
        return fixed if grid is None else f"{fixed} because no validation images are available"
    most = len(features.chosen_on.labels) if features.split == VAL else min(shots, _VAL_SHOTS)
    images = features.chosen_on.some(features.chosen_on.drawn(lambda there: min(there, most), seed))
    plain_logits = scale * cosines(images.features, head.pooled(features.class_features[:, None]))
    found = head.search(images.features, plain_logits, images.labels, grid)
    return f"alpha {found.alpha:g}, beta {found.beta:g}, selected on {found.images} other validation images"


class Tested(NamedTuple):
    """A test: how many images, how many of them right, and the expected calibration error in percent."""

    images: int
    right: int
    ece_pct: float

    @property
    def accuracy_pct(self) -> float:
        """The share of the right ones in percent."""
        return 100.0 * self.right / self.images


def evaluate(fitted: Fitted, features: Features) -> Tested:
    """A head on the tested images of features, among their classes."""
    logits, labels = fitted.logits(features).double(), features.tested.labels
    right = logits.argmax(1) == labels
    bins = bins_of(logits.softmax(1).amax(1).numpy(), right.numpy())
    return Tested(len(labels), int(right.sum()), cast(float, ece_pct(bins)))


def unknown(fitted: Fitted, base: Features, new: Features) -> dict[str, dict[str, float]]:
    """How well the base classes' scores tell images of base classes from those of new ones, as unknown_classes.py.

    Of a head whose logits are not on CLIP's scale without "energy", which could not be compared; of one that answers
    images in turn nothing.
    """
    if fitted.in_turn:
        return {}
    known, others = (
        scores(logits, logits.softmax(1)).numpy()
        for logits in (fitted.logits(dataclasses.replace(base, tested=one.tested)).double() for one in (base, new))
    )
    names = SCORES if fitted.head.on_clip_scale else SCORES[:1]
    return {name: separation(known[:, at], others[:, at]) for at, name in enumerate(names)}


class Row(NamedTuple):
    """What a table says of a head; `new` and `apart` only where base classes were told from new ones."""

    fitted: Fitted
    tested: Tested
    new: Tested | None = None
    apart: dict[str, dict[str, float]] | None = None


def compared(
    features: Features,
    methods: Sequence[tuple[HeadMethod, Any]],
    shots: Sequence[int],
    *,
    seed: int = 1,
    base_new: bool = False,
    trained_keys: bool = False,
) -> list[Row]:
    """Zero-shot, if there are class features, and all heads, each at all shots.

    Args:
        features: of all classes. Where VAL is tested and a head has a search, half of each class is for that, for all.
        methods: of the heads, with their configurations.
        shots: training images a class.
        seed: of all draws.
        base_new: fit on base classes alone, test these, and then the new ones, among which a head is carried by name.
        trained_keys: as `fit`, for Tip-Adapter-F.

    Raises:
        UserError: as `fit`.
    """
    if features.split == VAL and any(method.grid() for method, _ in methods):
        features = features.halved(seed)
    new = features.half(NEW) if base_new else None
    if new is not None:
        zero_shot(features)  # new classes need class features
        features = features.half("base")

    def row(fitted: Fitted) -> Row:
        found = Row(fitted, evaluate(fitted, features))
        return found if new is None else found._replace(new=evaluate(fitted, new), apart=unknown(fitted, features, new))

    if not methods:
        zero_shot(features)
    if trained_keys and not any(isinstance(method, TipAdapterF) for method, _ in methods):
        raise UserError(
            f"Only the head TipAdapterF can load trained cache keys ({TRAINED.format('*')}). Add TipAdapterF to --head."
        )
    rows = [] if features.text is None else [row(zero_shot(features))]
    for count in shots:
        features.bank(count)  # what is not there is said before anything is trained
    for method, cfg in methods:
        own = trained_keys and isinstance(method, TipAdapterF)
        fits = (fit(method, features, count, seed=seed, cfg=cfg, trained_keys=own) for count in shots or [0])
        for fitted in fits:
            rows.append(row(fitted))
            if not fitted.shots:  # it needs none: all are alike
                break
    return rows
