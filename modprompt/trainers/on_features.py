"""Training and testing heads on precomputed features (methods/heads/features.py) in seconds, without a CLIP model.

    features = read_features("caches/stanford_cars", "ViT-B/32", classes="head_Cars.pt", split="val")
    fitted = fit(modprompt.TipAdapter(search_hp=False, init_alpha=1.0, init_beta=5.5), features, shots=16)
    print(evaluate(fitted, features).accuracy_pct, fitted.how)

A bank that contains the mean of several views is one view. A head is then trained on the same features in every epoch,
and on normalised class features, while the papers use newly augmented images and class features that are not
normalised. Tables state this difference.
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
SCALE = 100.0  # exp(logit_scale) of the models of OpenAI, since files of features do not contain the scale
ON_KEYS = "trained on mean keys, unlike in the paper"
OTHERS = "published trained keys"
_AT_ONCE = 1000  # images that are tested at once
_VAL_SHOTS = 4  # validation images per class for the search, or the number of shots if that is smaller
# settings of heads that need images, texts or files of another CLIP model, or that select on test images
_UNREAD = ("PREC", "PROMPTS_FROM", "ENHANCED_BASE", "ENSEMBLE", "UNDERSCORES", "VIEWS", "AUGMENT_EPOCH", "AS_PUBLISHED",
           "SEARCH_ON", "BEST_EPOCH_ON", "ORDERS", "PUBLISHED")  # fmt: skip


def head_names() -> list[str]:
    """Return the names of all methods that are heads."""
    return [row.name for row in BY_NAME.values() if row.kind == HEADS]


def configured(
    names: Sequence[str], backbone: str, options: Sequence[tuple[str, str]] = ()
) -> list[tuple[HeadMethod, Any]]:
    """Return the methods of heads with the configurations of their training runs.

    The configuration comes from the config file of the method for the CLIP model, or for ViT-B/16 if there is none.

    Args:
        names: the names of the methods.
        backbone: the name of the CLIP model.
        options: KEY VALUE pairs for the node of a head, OPTIM, or DATALOADER.TRAIN_X.BATCH_SIZE. An option applies to
            all heads that read it.

    Raises:
        UserError: if a head does not exist, or an option is invalid or not read by any of the heads.
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
    """Return True if a setting affects a head on precomputed features."""
    cls: Any = BY_NAME[name].method
    if key.startswith(f"{cls.node}."):
        return key.rpartition(".")[2] not in _UNREAD
    of_training = key.startswith("OPTIM.") or key == "DATALOADER.TRAIN_X.BATCH_SIZE"
    return of_training and key not in BY_NAME[name].unread and bool(cls().head(("0",), 4).trains)


@dataclass(frozen=True)
class Fitted:
    """A head that is ready to classify.

    Attributes:
        name: the name of its method.
        shots: the number of training images per class; 0 for a head without training images.
        head: the head, for the classes of the features on which it was fitted.
        scale: the factor of the logits, a scalar.
        kind: ON_KEYS, OTHERS, or empty for a head that is not trained.
        how: a string on the selected hyperparameters.
        in_turn: whether the logits of an image depend on the images before it.
        order: if so, the order of the images (see HeadMethod.orders_of).
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
        """Return logits (B, C) of the test images; the head uses class features for classes without training images."""
        head = self.head.for_classes(features.names)
        text = head.pooled(features.class_features[:, None])
        answer, images = head.begin(), features.tested.features
        return answered_in(self.order, len(images), _AT_ONCE, lambda some: answer(images[some], text, self.scale), "")


class _ZeroShot(Head):
    """Zero-shot classification: scaled products of image features and class features."""

    trains = False

    def forward(self, image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        return scale * image @ text.t()


def zero_shot(features: Features) -> Fitted:
    """Return a head that classifies with the class features alone (zero-shot classification).

    Raises:
        UserError: if there are no class features.
    """
    if features.text is None:
        raise UserError("Zero-shot classification needs class features. Set --classes to the file of class features.")
    return Fitted(ZERO_SHOT, 0, _ZeroShot(features.names), torch.tensor(SCALE))


def fit(
    method: HeadMethod, features: Features, shots: int, *, seed: int = 1, cfg: Any = None, trained_keys: bool = False
) -> Fitted:
    """Build a head from training features, train it, and select its hyperparameters.

    Args:
        method: the method of the head.
        features: the features. Hyperparameters are selected on `features.chosen_on`.
        shots: the number of training images per class; ignored by a head without training images.
        seed: the seed of all random numbers.
        cfg: the configuration that `configured` returned, or None for the default of the method and the CLIP model.
        trained_keys: use published trained keys instead of training; only for Tip-Adapter-F.

    Raises:
        UserError: if features are missing, a setting is not supported, or the loss is not finite.
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
    """Search for alpha and beta if possible; return a string with their values and how they were selected."""
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
    """The result of a test: the numbers of images and correct predictions, and the calibration error in percent."""

    images: int
    right: int
    ece_pct: float

    @property
    def accuracy_pct(self) -> float:
        """The accuracy in percent."""
        return 100.0 * self.right / self.images


def evaluate(fitted: Fitted, features: Features) -> Tested:
    """Test a head on precomputed features of test images."""
    logits, labels = fitted.logits(features).double(), features.tested.labels
    right = logits.argmax(1) == labels
    bins = bins_of(logits.softmax(1).amax(1).numpy(), right.numpy())
    return Tested(len(labels), int(right.sum()), cast(float, ece_pct(bins)))


def unknown(fitted: Fitted, base: Features, new: Features) -> dict[str, dict[str, float]]:
    """Return how well confidence scores separate images of base classes and new classes, see unknown_classes.py.

    The score "energy" is left out for a head whose logits do not have the scale of CLIP. A head whose logits depend on
    earlier images is not measured.
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
    """A row of a table; `new` and `apart` have values only if base and new classes were tested."""

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
    """Fit and test heads for each number of shots, and test zero-shot classification if there are class features.

    Args:
        features: the features of all classes. If VAL is tested and a head has a search, half of the images of a class
            is used for the search and not for the test of any head.
        methods: the methods of the heads with their configurations.
        shots: numbers of training images per class.
        seed: the seed of all random numbers.
        base_new: fit heads on base classes only, and test them on base classes and on new classes.
        trained_keys: as for `fit`; only for Tip-Adapter-F.

    Raises:
        UserError: the errors of `fit`.
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
        features.bank(count)  # missing features are reported before anything is trained
    for method, cfg in methods:
        own = trained_keys and isinstance(method, TipAdapterF)
        fits = (fit(method, features, count, seed=seed, cfg=cfg, trained_keys=own) for count in shots or [0])
        for fitted in fits:
            rows.append(row(fitted))
            if not fitted.shots:  # the number of shots has no influence
                break
    return rows
