"""A head added to a learner's prompts, trained with them on raw image and class features (DePT, arXiv 2309.07439).

Shapes: B images, C classes, E joint width.
"""

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.errors import UserError
from modprompt.methods.parts.classes import Classes

LINEAR, SIMILARITY = "linear", "similarity"
_ROWS = "linear_probe_proj.weight"
_FAMILY = "ImageNet"  # its variants number classes of one name by its list


class ChannelScale(nn.Module):
    """A scale and a bias for each of E channels, float32, applied in the type of the features.

    Args:
        width: E.
    """

    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, features: Tensor) -> Tensor:
        """Features (..., E), scaled and shifted."""
        kind = features.dtype
        return torch.addcmul(self.bias.to(kind), features, self.scale.to(kind))


class JointHead(nn.Module):
    """Scales of both sides' features, and logits from them: by a matrix with a row for each class, or by cosines.

    Its logits count if the training had every class that is told apart; otherwise scaled cosines count alone. Random
    draws: the matrix and its bias, as nn.Linear draws them.

    Args:
        width: E.
        classes: those of the training.
        kind: LINEAR or SIMILARITY.
        film: whether there are scales.
        weight: of these logits; that of scaled cosines is 1 - weight.
        fuses: whether a test adds up both; otherwise it uses only these.
        demands: whether classes that it does not know are refused; rows without known names are then taken in
            order.
        dtype: of the matrix.
    """

    film_lp_img: ChannelScale | None
    film_lp_text: ChannelScale | None
    linear_probe_proj: nn.Linear | None
    rows: Tensor | None

    def __init__(
        self,
        width: int,
        classes: Classes,
        kind: str,
        film: bool,
        weight: float,
        fuses: bool,
        demands: bool,
        dtype: torch.dtype,
    ):
        super().__init__()
        self.weight, self.fuses, self.demands = weight, fuses, demands
        self.film_lp_img = ChannelScale(width) if film else None
        self.film_lp_text = ChannelScale(width) if film else None
        linear = nn.Linear(width, len(classes.names)) if kind == LINEAR else None
        self.linear_probe_proj = None if linear is None else linear.to(dtype)
        self.trained_on = self.classes = classes
        self.knows = True  # whether it knows all classes that are told apart
        self.register_buffer("rows", None, persistent=False)  # rows of these classes; None for all, in order

    @property
    def has_rows(self) -> bool:
        """Whether it has rows of single classes."""
        return self.linear_probe_proj is not None

    @property
    def said(self) -> str:
        """Which logits count, in words."""
        if self.knows:
            return f"{1 - self.weight:g} cosine + {self.weight:g} joint head" if self.fuses else "joint head"
        return "cosine"

    def said_of(self, classes: Classes) -> str:
        """Why logits of these classes are only scaled cosines, in a sentence; empty if they are not."""
        if not self.trained_on.names:
            return "logits are only scaled cosines: the file does not say for which classes the joint head has rows"
        new = self._places(classes).count(-1)
        if not new:
            return ""
        return (
            f"logits are only scaled cosines: the joint head was not trained on {new} of {len(classes.names)} classes"
        )

    def learned_on(self, classes: Classes) -> None:
        """Set the classes of the rows; none means that nobody knows, of which it warns.

        Raises:
            UserError: if there are more or fewer rows, or a class has none while that is demanded.
        """
        rows = None if self.linear_probe_proj is None else self.linear_probe_proj.out_features
        if not classes.names and self.demands and rows in (None, len(self.classes.names)):
            classes = self.classes
        if classes.names and rows not in (None, len(classes.names)):
            raise UserError(
                f"a joint head with {rows} rows is said to be for {len(classes.names)} classes: the file is damaged"
            )
        self.trained_on = classes
        if not classes.names and not self.demands:
            warnings.warn(self.said_of(self.classes), stacklevel=5)
        self._tell_apart(self.classes)

    def for_classes(self, classes: Classes) -> "JointHead":
        """The same parameters, shared, for other classes.

        Raises:
            UserError: as learned_on.
        """
        other = copy.copy(self)
        other.__dict__["_buffers"] = dict(self._buffers)
        other._tell_apart(classes)
        return other

    def _tell_apart(self, classes: Classes) -> None:
        self.classes = classes
        places = self._places(classes)
        self.knows, self.rows = -1 not in places, None
        if self.demands and not self.knows:
            raise UserError(
                f"{self.said_of(classes)} (DEMAND_FUSION True): leave it out, or use the training's classes"
            )
        if self.knows and places != list(range(len(self.trained_on.names))):
            device = next((one.device for one in self.parameters()), None)
            self.rows = torch.tensor(places, device=device)

    def _places(self, classes: Classes) -> list[int]:
        """For each of these classes the place of the same one in the training, -1 for none.

        Found by name; several classes of one name are told apart by their number in the data set, if both sides know
        it, and otherwise by their order, if there are equally many.
        """
        mine, theirs = self.trained_on, classes
        if mine.names == theirs.names and (mine.which == theirs.which or not (mine.which and theirs.which)):
            return list(range(len(mine.names)))
        same = mine.dataset == theirs.dataset or (_FAMILY in mine.dataset and _FAMILY in theirs.dataset)
        if same and (mine.which or theirs.which):
            return _among(_numbered(mine), _numbered(theirs))
        counts: dict[str, int] = {name: mine.names.count(name) for name in set(theirs.names)}
        unsure = {name for name, count in counts.items() if count > 1 and count != theirs.names.count(name)}
        return [
            -1 if name in unsure else at for name, at in zip(theirs.names, _among(_by_order(mine), _by_order(theirs)))
        ]

    def take_sizes(self, state: Mapping[str, Tensor]) -> None:
        """Have as many rows as a checkpoint, since rows belong to its classes; names are the head's."""
        theirs, own = state.get(_ROWS), self.linear_probe_proj
        if own is None or theirs is None or theirs.dim() != 2:
            return
        for one in (own.weight, own.bias):
            one.data = one.data.new_zeros(len(theirs), *one.shape[1:])
        own.out_features = len(theirs)

    # ------------------------------ features in, logits out

    def _of_image(self, image: Tensor) -> Tensor:
        return image if self.film_lp_img is None else self.film_lp_img(image)

    def _of_text(self, text: Tensor) -> Tensor:
        return text if self.film_lp_text is None else self.film_lp_text(text)

    def each(self, image: Tensor, text: Tensor, cosines: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        """Scaled cosines, and also its own logits (B, C), if it knows all classes.

        Args:
            image: raw image features (B, E).
            text: raw class features (C, E), or (B, C, E) of single images.
            cosines: the scaled cosines of these (B, C).
            scale: the factor of cosines.
        """
        if not self.knows:
            return (cosines,)
        own = self._of_image(image)
        if self.linear_probe_proj is not None:
            return cosines, self._linear(own)
        own, other = F.normalize(own, dim=-1), F.normalize(self._of_text(text), dim=-1)
        together = scale * own @ other.t() if other.dim() == 2 else scale * (other @ own[:, :, None])[:, :, 0]
        return cosines, together

    def _linear(self, features: Tensor) -> Tensor:
        matrix: Any = self.linear_probe_proj
        features = features.to(matrix.weight.dtype)  # a tower's are float32
        if self.rows is None:
            made: Tensor = matrix(features)
            return made
        return F.linear(features, matrix.weight[self.rows], matrix.bias[self.rows])

    def made_of(self, each: tuple[Tensor, ...]) -> Tensor:
        """The logits that count."""
        if len(each) == 1:
            return each[0]
        cosines, own = each
        return (1 - self.weight) * cosines + self.weight * own if self.fuses else own

    def loss(self, logits: Tensor, text: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy, a float32 scalar, of its logits for images and, with a matrix, for features of their classes.

        DePT, equation 6: the mean over 2 B rows.

        Args:
            logits: its own (B, C).
            text: raw class features (C, E), or (B, C, E) of single images.
            labels: (B,).
        """
        of_images = F.cross_entropy(logits.float(), labels)
        if self.linear_probe_proj is None:
            return of_images
        # a product instead of an index: its backward pass adds up in a fixed order
        mine = (labels[:, None] == torch.arange(text.shape[-2], device=labels.device)).to(text.dtype)  # (B, C)
        rows = mine @ text if text.dim() == 2 else (mine[:, None] @ text)[:, 0]  # (B, E)
        return (F.cross_entropy(self._linear(self._of_text(rows)).float(), labels) + of_images) / 2


Key = tuple[str, int]


def _by_order(classes: Classes) -> list[Key]:
    seen: dict[str, int] = {}
    found = []
    for name in classes.names:
        found.append((name, seen.get(name, 0)))
        seen[name] = seen.get(name, 0) + 1
    return found


def _numbered(classes: Classes) -> list[Key]:
    return list(zip(classes.names, classes.which)) if classes.which else _by_order(classes)


def _among(mine: Sequence[Key], theirs: Sequence[Key]) -> list[int]:
    places = {key: at for at, key in enumerate(mine)}
    return [places.get(key, -1) for key in theirs]
