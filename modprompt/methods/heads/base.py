"""Heads: made for classes, built from a bank of features, called with features, moved to other classes by name.

The features come from frozen encoders, which see images once or several times. Shapes: V views, N training images, B
images, C classes, T templates, D joint width.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from modprompt.errors import UserError
from modprompt.io.files import Refused
from modprompt.io.tensors import require_learned
from modprompt.methods.parts.learners import Classes, places

_ROUNDED = 0.02  # how far apart class features of half precision may be from those of single
Batch = dict[str, Tensor]  # features (B, D) under "img", labels (B,) under "label", as loaders have them


def unit(features: Tensor) -> Tensor:
    """Features (..., D) of length 1."""
    return F.normalize(features, dim=-1)


def cosines(image: Tensor, text: Tensor) -> Tensor:
    """Cosines (B, C) of image features (B, D) with class features (C, D), or (B, C, D) of single images; both raw."""
    image, text = unit(image), unit(text)
    return image @ text.t() if text.dim() == 2 else (text @ image[:, :, None])[:, :, 0]


def mean_text(text: Tensor) -> Tensor:
    """Class features (..., C, D), raw: the mean of those (..., C, T, D) of all templates."""
    return text.mean(-2)


def unit_mean_text(text: Tensor) -> Tensor:
    """Class features (..., C, D) of length 1: the direction of the mean of normalised ones (..., C, T, D)."""
    return unit(unit(text).mean(-2))


def are_others(text: Tensor, other: Tensor) -> bool:
    """Whether raw class features (C, D) are those of other classes: further apart than half precision explains."""
    apart = (text - other).norm(dim=-1) / other.norm(dim=-1)
    return bool((apart > _ROUNDED).any())


def images_of(labels: Tensor, classes: int) -> Tensor:
    """How many images each class has (C,), from labels (N,), without waiting for their values."""
    return torch.zeros(classes, dtype=labels.dtype, device=labels.device).index_add_(0, labels, torch.ones_like(labels))


class Bank(NamedTuple):
    """Features of frozen encoders, float32, on one device.

    Attributes:
        views: of the training images (V, N, D), one view for each pass over them; V is 0 for heads that need none.
        labels: of the images of each view (V, N), in its order.
        text: of the classes (C, T, D); where each image has its own, for the images of the first view (N, C, T, D).
    """

    views: Tensor
    labels: Tensor
    text: Tensor

    @classmethod
    def of(cls, views: Sequence[Tensor], labels: Tensor | Sequence[Tensor], text: Tensor) -> "Bank":
        """A bank of single views (N, D), with their labels (N,), or one set of labels for all views.

        Raises:
            UserError: if they do not fit each other.
        """
        if not len(views):
            nothing = torch.empty(0, 0, dtype=torch.int64, device=text.device)
            return cls(text.new_empty(0, 0, text.shape[-1]).float(), nothing, text.float())
        each = [labels] * len(views) if isinstance(labels, Tensor) else list(labels)
        shapes, of_labels = ([tuple(one.shape) for one in some] for some in (views, each))
        wanted = [(len(views[0]), text.shape[-1])] * len(views)
        if shapes != wanted or of_labels != [shape[:1] for shape in wanted] or not len(views[0]):
            raise UserError(
                f"The features of the views have the shapes {shapes}, but the labels have the shape {of_labels} and "
                f"the class features have the shape {tuple(text.shape)}."
            )
        whole, own = torch.stack(list(views)).float(), torch.stack(each)
        if not 0 <= int(own.min()) <= int(own.max()) < text.shape[-3]:
            raise UserError(f"The feature bank contains a label that belongs to none of the {text.shape[-3]} classes.")
        return cls(whole, own.long().to(text.device), text.float())


class FreshViews:
    """A new view of the images in every epoch, encoded batch by batch; or some views, kept and used in turn.

    Args:
        loader: of images (B, 3, H, W) under "img" and labels (B,) under "label".
        encode: raw features (B, D) of images; it needs no gradients.
        views: how many are kept; 0 for a new one in every epoch.

    Attributes:
        kept: the views so far, each as its batches in order.
        epoch: how many epochs have begun.
    """

    def __init__(self, loader: Any, encode: Callable[[Tensor], Tensor], views: int = 0):
        self.loader, self.encode, self.views = loader, encode, views
        self.kept: list[list[tuple[Tensor, Tensor]]] = []
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        self.epoch += 1
        again = self.views and self.epoch > self.views
        batches = self.kept[(self.epoch - 1) % self.views] if again else self._encoded()
        return ({"img": features, "label": labels} for features, labels in batches)

    def _encoded(self) -> Iterator[tuple[Tensor, Tensor]]:
        view: list[tuple[Tensor, Tensor]] = []
        for batch in self.loader:
            with torch.no_grad():
                encoded = self.encode(batch["img"]), batch["label"]
            if self.views:
                view.append(encoded)
            yield encoded
        if self.views:
            self.kept.append(view)


class PermutedViews:
    """All views of a bank as one list of images; each epoch uses as many as one view has, newly permuted.

    The permutation is NumPy's: `argsort(rand(V N))`, of which the first floor(N / batch) batches are used (CLAP's
    reference, arXiv 2312.12730); if there are fewer images than `batch`, one smaller batch.

    Args:
        bank: of the training images.
        batch: images of a batch.
    """

    def __init__(self, bank: Bank, batch: int):
        self.features, self.labels, self.batch = bank.views.flatten(0, 1), bank.labels.flatten(), batch
        self.batches = max(bank.views.shape[1] // batch, 1)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Batch]:
        order = torch.from_numpy(np.argsort(np.random.rand(len(self.labels)))).to(self.labels.device)
        for picked in order.split(self.batch)[: self.batches]:
            yield {"img": self.features[picked], "label": self.labels[picked]}


H = TypeVar("H", bound="Head")
TRAIN, VAL, TEST = "train", "val", "test"  # lists of images


class Head(nn.Module):
    """A module from features to logits. Its state dict has all that was trained, in float32.

    A subclass is made for the names of classes and D. It draws in its constructor what does not depend on the bank, and
    the rest in `build`; its parameters and persistent buffers are named as in its checkpoints. The attributes below say
    what else it can do.

    Attributes:
        names: of the C classes, in label order.
        which: for each, its number among the data set's classes of the same name; empty if unknown.
    """

    # images that are encoded before training, in this order, since loaders draw numbers: TRAIN's are the bank's views
    encodes: tuple[str, ...] = ()
    from_bank: tuple[str, ...] = ()  # tensors whose first size follows from the bank, or from a checkpoint
    # tensors that a checkpoint may lack, as those of other codebases do: empty until `build` or a checkpoint fills them
    may_lack: tuple[str, ...] = ()
    # by name, the dimension of the classes in a tensor with rows of single classes; those of new classes are 0
    rows: Mapping[str, int] = {}
    seeds_anew = False  # whether its draws start again from the run's seed after CLIP is loaded, as in its reference
    in_order = True  # whether passes over the training images for the bank go in their order; else each is shuffled
    keeps_rest = False  # whether a last batch that is not full is trained on
    trains = True  # whether anything is learned by steps
    on_clip_scale = True  # whether logits are cosines times CLIP's factor
    needs_text = True  # whether logits or the training depend on class features
    reads_text = False  # whether `build` asks for class features
    moves = True  # whether each image may have class features of its own; else it starts from one feature per class

    def __init__(self, names: Sequence[str]):
        super().__init__()
        self.names = tuple(names)
        self.which: tuple[int, ...] = ()

    def build(self, bank: Bank, scale: Tensor) -> None:
        """Read from the bank what the head is made of; once, before training.

        Args:
            bank: of the training images.
            scale: exp(logit_scale) of the CLIP, a scalar.
        """

    def pooled(self, text: Tensor) -> Tensor:
        """The class features (..., C, D) that the head is called with, from raw ones (..., C, T, D)."""
        return mean_text(text)

    def forward(self, image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        """Logits (B, C).

        Args:
            image: raw image features (B, D).
            text: class features (C, D) as `pooled` returns them, or (B, C, D) of single images.
            scale: exp(logit_scale) of the CLIP, a scalar.
        """
        raise NotImplementedError

    def begin(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """What answers the images of one test, batch after batch in their order; called as `forward`.

        A head whose answers depend on the images before keeps these in what it returns here, never in itself:
        `forward` is a test of its images alone.
        """
        return self

    def penalty(self) -> Tensor:
        """What training adds to cross-entropy, a scalar; a UserError if something that it needs is missing."""
        return torch.zeros((), device=self._device())

    def _device(self) -> torch.device:
        return next((one.device for one in (*self.parameters(), *self.buffers())), torch.device("cpu"))

    def batches(self, bank: Bank, size: int) -> Any:
        """What it is fitted on in each epoch, batches of `size` images; None for newly encoded views."""
        return None

    def end_epoch(self) -> None:
        """Do what is due between two epochs."""

    def rates(self, steps: int) -> tuple[Optimizer, Any] | None:
        """An optimiser of its own for a training of so many steps, and its schedule, stepped after every step (None:
        constant), made after `build`; None for the configured one.
        """
        return None

    @property
    def class_bound(self) -> bool:
        """Whether it knows nothing of a class that it was not made for."""
        return bool(self.rows)

    def for_classes(self: H, names: Sequence[str], which: Sequence[int] = ()) -> H:
        """The head for other classes, from its current tensors, through which gradients flow.

        All is shared except rows of classes, which are looked up by `places`, and are 0 for new classes.
        """
        if tuple(names) == self.names and (not which or tuple(which) == self.which):
            return self
        places = self.places(names, which)
        other = copy.copy(self)
        for kept in ("_parameters", "_buffers", "_modules"):
            other.__dict__[kept] = copy.copy(self.__dict__[kept])
        other.names, other.which = tuple(names), tuple(which)
        for name, dim in self.rows.items():
            rows = getattr(self, name)
            new = (places < 0).view([-1 if axis == dim else 1 for axis in range(rows.dim())])
            other._show(name, rows.index_select(dim, places.clamp(min=0)).masked_fill(new, 0))
        return other

    def places(self, names: Sequence[str], which: Sequence[int] = ()) -> Tensor:
        """For each of these classes the place of the same one among its own (C,), -1 for none."""
        mine = Classes(self.names, which=self.which if which else ())
        return torch.tensor(places(mine, Classes(tuple(names), which=tuple(which))), device=self._device())

    def _put(self, name: str, value: Tensor) -> None:
        """Replace a parameter or buffer of the head itself."""
        if name in self._parameters:
            self._parameters[name] = nn.Parameter(value, requires_grad=self._parameters[name].requires_grad)  # type: ignore[union-attr]
        else:
            self._buffers[name] = value

    def _show(self, name: str, value: Tensor) -> None:
        """Replace a parameter or buffer by a tensor that was computed from it and is not trained."""
        self._parameters.pop(name, None)
        self._buffers[name] = value

    def take(self, state: Mapping[str, Any], path: str) -> None:
        """Load a checkpoint's tensors, made for this head's classes.

        Raises:
            UserError: if one is missing, or does not fit.
        """
        mine, found = self.state_dict(), {name: one for name, one in state.items() if isinstance(one, Tensor)}
        for name in self.may_lack:
            if name not in mine or name not in found or not found[name].numel():
                mine.pop(name, None)
                found.pop(name, None)
        missing, strange = [name for name in mine if name not in found], [name for name in found if name not in mine]
        if missing or strange:
            what = (
                f"the file has no {missing[0]}" if missing else f"the file contains the unexpected entry {strange[0]}"
            )
            raise UserError(
                f"{path} is not a checkpoint of {type(self).__name__}, because {what}. Use a checkpoint of this head."
            )
        for name, here in mine.items():
            there, resized = found[name], name in self.from_bank or name in self.may_lack
            if there.dim() != here.dim() or not (resized or there.shape == here.shape):
                shapes = f"{tuple(there.shape)} in the file, but {tuple(here.shape)} in this model"
                raise UserError(
                    f"{path} does not fit this model: the shape of {name} is {shapes}. Use the settings with "
                    "which the checkpoint was trained."
                )
        try:
            require_learned(found)
        except Refused as error:
            raise UserError(f"{path} is damaged ({error}). Use another copy of the file.") from None
        for name, there in found.items():
            if mine[name].shape != there.shape:
                self._put(name, there.to(mine[name]))
        self.load_state_dict(found, strict=False)
        fault = self.fault()
        if fault:
            raise UserError(
                f"{path} does not fit this model: {fault}. Use another copy of the file, or the settings "
                "with which the checkpoint was trained."
            )

    def is_of_others(self, text: Tensor) -> bool:
        """Whether what it has loaded visibly belongs to other classes than those with these features (C, D)."""
        return False

    def fault(self) -> str:
        """Why tensors of a checkpoint do not fit each other; empty if they do."""
        return ""


class HeadClassifier(nn.Module):
    """A trained head with the class features that it is called with: a module from image features to logits.

    Args:
        head: copied.
        text: as `pooled` returns it.
        scale: exp(logit_scale) of the CLIP, a scalar.
    """

    text: Tensor
    scale: Tensor

    def __init__(self, head: Head, text: Tensor, scale: Tensor):
        super().__init__()
        self.head = copy.deepcopy(head)
        self.register_buffer("text", text)
        self.register_buffer("scale", scale)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, C) of raw image features (B, D)."""
        logits: Tensor = self.head(image, self.text, self.scale)
        return logits
