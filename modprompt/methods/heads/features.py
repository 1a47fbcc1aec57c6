"""Features that others have computed, as Tip-Adapter's programs leave them, for every head: read, checked, as a Bank.

A folder has, of images, `test_f.pt` (B, D) with their labels `test_l.pt` (B,), `val_f.pt` and `val_l.pt` likewise; of S
training images a class, `keys_Ss.pt` by the name keys_{S}shots.pt (D, N), each the mean of augmented passes, with their
classes `values_{S}shots.pt` (N, C); and perhaps `best_F_{S}shots.pt` (N, D), keys that Tip-Adapter-F has trained. Class
features are a file of their own, (C, D) or (D, C), or a pickled head that has them as its `weight`. No file says of
which CLIP it is, nor which classes: the caller does, and what can be checked is.

Shapes: B images, N training images, C classes, D joint width.
"""

import dataclasses
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modprompt.checks import some
from modprompt.clip import known, lookup
from modprompt.errors import UserError
from modprompt.io.files import PathLike, Refused, of_user
from modprompt.io.tensors import read_tensors, require_learned
from modprompt.methods.heads.base import TEST, VAL, Bank, cosines, unit

KEYS, VALUES, TRAINED = "keys_{}shots.pt", "values_{}shots.pt", "best_F_{}shots.pt"
BASE, NEW = "base", "new"  # halves of the classes, by their order: the first half, rounded up, and the rest
AGAIN = (
    "heads normalize the keys and image features again, in float32; zero-shot CLIP uses the image features as stored"
)
_ROUNDED = 0.01  # how far a length may be from 1: half precision rounds


class Images(NamedTuple):
    """Features (B, D), float32, of length 1 but for the file's rounding, and labels (B,)."""

    features: Tensor
    labels: Tensor

    def some(self, picked: Tensor) -> "Images":
        """Those at these places, or where a mask is True."""
        return Images(self.features[picked], self.labels[picked])

    def drawn(self, count: Callable[[int], int], seed: int) -> Tensor:
        """A mask (B,) of images that a seed draws: `count` says of a class's images how many."""
        order = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(seed))
        shuffled, mask = self.labels[order], torch.zeros(len(order), dtype=torch.bool)
        for label in shuffled.unique():
            own = order[shuffled == label]
            mask[own[: count(len(own))]] = True
        return mask


@dataclass(frozen=True)
class Features:
    """Features of a data set, all of one CLIP.

    Attributes:
        folder: where they are.
        backbone: the CLIP's name, as the caller said it.
        split: which images are tested: TEST or VAL.
        tested: those.
        chosen_on: others, on which settings may be chosen; None if there are none.
        text: class features of length 1 (C, D); None if there are none.
        classes: the numbers, among all classes of the folder, of those that are told apart.
        all_classes: how many the folder has.
    """

    folder: Path
    backbone: str
    split: str
    tested: Images
    chosen_on: Images | None
    text: Tensor | None
    classes: range
    all_classes: int

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, in label order: their numbers in the folder, which has no names."""
        return tuple(map(str, self.classes))

    @property
    def class_features(self) -> Tensor:
        """`text`, or zeros for heads that read none."""
        width = self.tested.features.shape[1]
        return torch.zeros(len(self.classes), width) if self.text is None else self.text

    def shots(self) -> list[int]:
        """The numbers of training images a class that the folder has keys for."""
        return _shots(self.folder)

    def half(self, which: str) -> "Features":
        """The same for BASE or NEW classes alone; UserError if none of their images is tested."""
        first = -(-len(self.classes) // 2)
        at = range(first) if which == BASE else range(first, len(self.classes))
        tested = _of_classes(self.tested, at)
        if not len(tested.labels):
            raise UserError(f"{self.folder}: {self.split}_f.pt contains no image of the {which} classes.")
        return dataclasses.replace(
            self,
            tested=tested,
            chosen_on=None if self.chosen_on is None else _of_classes(self.chosen_on, at),
            text=None if self.text is None else self.text[at.start : at.stop],
            classes=self.classes[at.start : at.stop],
        )

    def halved(self, seed: int) -> "Features":
        """The tested images of each class in two, drawn by a seed: one half to choose on, the other to test.

        Raises:
            UserError: if no class has two images.
        """
        chosen = self.tested.drawn(lambda images: images // 2, seed)
        if not chosen.any():
            raise UserError(
                f"{self.folder}: no class has two images in {self.split}_f.pt, but one image is needed for validation "
                "and another image for the test."
            )
        return dataclasses.replace(self, tested=self.tested.some(~chosen), chosen_on=self.tested.some(chosen))

    def bank(self, shots: int) -> Bank:
        """What a head is built from: so many training images a class, their mean keys as one view; 0 for none.

        Raises:
            UserError: if the folder has none, or they do not fit the images and class features.
        """
        text = self.class_features[:, None]
        if not shots:
            return Bank.of([], [], text)
        keys = self._keys(shots)
        return Bank.of([keys.features], keys.labels, text)

    def trained_keys(self, shots: int) -> Tensor:
        """Keys (N, D) that somebody's Tip-Adapter-F has trained from those of the bank, in its order, as they are.

        Raises:
            UserError: as `bank`.
        """
        path, labels = self.folder / TRAINED.format(shots), self._all_keys(shots).labels
        found = _floats(path)
        if tuple(found.shape) != (len(labels), self.tested.features.shape[1]):
            wanted = f"({len(labels)}, {self.tested.features.shape[1]})"
            raise UserError(
                f"{path} has the shape {tuple(found.shape)}, but {wanted} is expected. The file was made with "
                "different cache keys or with a different CLIP model."
            )
        return found[_are_of(labels, self.classes)]

    def _keys(self, shots: int) -> Images:
        return _of_classes(self._all_keys(shots), self.classes)

    def _all_keys(self, shots: int) -> Images:
        """Keys (N, D), and their labels among all classes of the folder."""
        path, of_values = self.folder / KEYS.format(shots), self.folder / VALUES.format(shots)
        if not path.is_file():
            there = some([str(one) for one in self.shots()], 20) or "none"
            raise UserError(
                f"{self.folder} has no {path.name} (needed for {shots}-shot training). The folder contains: {there}."
            )
        keys, values = _floats(path), _floats(of_values)
        if len(keys) != self.tested.features.shape[1]:
            width = f"the features in {self.split}_f.pt have {self.tested.features.shape[1]}"
            raise UserError(
                f"{path}: the cached image features (keys) have {len(keys)} dimensions, but {width}. The files belong "
                "to different CLIP models."
            )
        if tuple(values.shape) != (keys.shape[1], self.all_classes):
            wanted = f"{keys.shape[1]} images (rows) and {self.all_classes} classes (columns)"
            raise UserError(f"{of_values} has the shape {tuple(values.shape)}, but {wanted} are expected.")
        if not (((values == 0) | (values == 1)).all() and (values.sum(1) == 1).all()):
            raise UserError(
                f"{of_values}: each row must be one-hot, with a 1 in the column of the image's class and 0 elsewhere."
            )
        if not (values.sum(0) == shots).all():
            raise UserError(
                f"{of_values}: according to the file name, each class has {shots} images, but some classes have a "
                "different number."
            )
        return Images(_of_length_1(path, keys.t()), values.argmax(1))


def _clip(name: str) -> str:
    """Return a CLIP's own name, or the path of its file; UserError if there is no such CLIP."""
    asked = lookup.named(name)
    if not asked.path:
        lookup.require(name, "the CLIP of features")
        return known.plain(name)
    if not of_user(asked.path).exists():
        raise UserError(
            f"--backbone: {asked.path} does not exist. Set --backbone to the CLIP model that computed the features."
        )
    return str(of_user(asked.path).resolve())


def read_features(
    folder: PathLike, backbone: str, classes: PathLike = "", classes_backbone: str = "", split: str = TEST
) -> Features:
    """The features in a folder, with class features from a file.

    Args:
        folder: as Tip-Adapter's programs leave it.
        backbone: name or path of the CLIP of the image features.
        classes: file of class features, in the order of the labels; empty for none.
        classes_backbone: name or path of the CLIP of the class features; empty for the same.
        split: which images are tested, TEST or VAL. With TEST those of VAL, if there are any, are for choices.

    Raises:
        UserError: if a file is missing, damaged, no such file, or they do not fit each other, or the CLIPs differ.
    """
    place = of_user(folder)
    if not place.is_dir():
        raise UserError(f"The folder {place} does not exist.")
    if _clip(classes_backbone or backbone) != _clip(backbone):
        raise UserError(
            f"The image features were computed with {backbone}, but the class features with "
            f"{classes_backbone}. Both need the same CLIP model."
        )
    tested = _images(place, split)
    width = tested.features.shape[1]
    text = _class_features(of_user(classes), width) if classes else None
    count = len(text) if text is not None else _columns(place) or int(tested.labels.max()) + 1
    chosen_on = _images(place, VAL) if split == TEST and (place / f"{VAL}_f.pt").is_file() else None
    for images, name in ((tested, split), (chosen_on, VAL)):
        if images is not None and images.features.shape[1] != width:
            raise UserError(
                f"{place}: the features in {name}_f.pt have the width {images.features.shape[1]}, but those "
                f"in {split}_f.pt have the width {width}."
            )
        if images is not None and int(images.labels.max()) >= count:
            raise UserError(
                f"{place}: {name}_l.pt has labels up to {int(images.labels.max())}, but there are only {count} classes."
            )
    if text is not None and count > 2:
        right = float((cosines(tested.features, text).argmax(1) == tested.labels).double().mean())
        if right <= 2 / count:
            warnings.warn(
                f"The zero-shot accuracy is {100 * right:.2f}%, close to chance ({100 / count:.2f}%). Either the "
                f"class features in {classes} were not computed with the CLIP model {backbone}, or their classes have "
                f"a different order than the labels in {place}.",
                stacklevel=2,
            )
    return Features(place, backbone, split, tested, chosen_on, text, range(count), count)


def _shots(folder: Path) -> list[int]:
    found = (re.fullmatch(r"keys_(\d+)shots\.pt", path.name) for path in folder.iterdir())
    return sorted(int(one[1]) for one in found if one)


def _columns(folder: Path) -> int:
    """How many classes the keys have; 0 if there are none."""
    return next((int(_floats(folder / VALUES.format(shots)).shape[1]) for shots in _shots(folder)), 0)


def _images(folder: Path, split: str) -> Images:
    of_features, of_labels = folder / f"{split}_f.pt", folder / f"{split}_l.pt"
    if not of_features.is_file():
        there = [name for name in (TEST, VAL) if (folder / f"{name}_f.pt").is_file()]
        raise UserError(f"{folder} has no {of_features.name}. Available splits: {', '.join(there) or 'none'}.")
    features, labels = _floats(of_features), _read(of_labels)
    if not (isinstance(labels, Tensor) and labels.dim() == 1 and labels.dtype in (torch.int32, torch.int64)):
        raise UserError(f"{of_labels} must contain a whole number for each image.")
    if len(labels) != len(features):
        raise UserError(
            f"The number of images in {of_features} ({len(features)}) differs from the number of labels in "
            f"{of_labels} ({len(labels)})."
        )
    if not len(labels) or int(labels.min()) < 0:
        raise UserError(f"{of_labels} contains {'a label below 0' if len(labels) else 'no labels'}.")
    return Images(_of_length_1(of_features, features), labels.long())


def _class_features(path: Path, width: int) -> Tensor:
    """(C, D) of length 1, whichever way round they are; a zero-shot head's are 100 times as long."""
    found = _floats(path)
    rows, columns = found.shape
    if width not in (rows, columns) or rows == columns:
        says = "so the dimension of the classes is ambiguous" if rows == columns else "so neither dimension fits"
        raise UserError(
            f"{path} is a matrix of shape {rows} x {columns}, but the image features have {width} dimensions, {says}."
        )
    return unit(found if columns == width else found.t())


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"The file {path} does not exist.")
    return read_tensors(path)


def _floats(path: Path) -> Tensor:
    """A file's matrix of finite numbers, in float32; of a pickled head or a state dict its `weight`."""
    value: Any = _read(path)
    value = value.get("weight") if isinstance(value, Mapping) else value
    try:
        require_learned({"content": value})
        if value.dim() != 2 or not value.numel():
            raise Refused(f"the tensor in the file has the wrong shape {tuple(value.shape)}")
    except Refused as error:
        raise UserError(f"{path} is not a matrix of features ({error}).") from None
    found: Tensor = value.detach().float()
    return found


def _of_length_1(path: Path, features: Tensor) -> Tensor:
    lengths = features.norm(dim=1)
    if float((lengths - 1).abs().max()) > _ROUNDED:
        found = f"{float(lengths.min()):.3g} to {float(lengths.max()):.3g}"
        raise UserError(
            f"{path}: the features must have norm 1, as in the files that Tip-Adapter writes, but their norms range "
            f"from {found}."
        )
    return features


def _are_of(labels: Tensor, classes: range) -> Tensor:
    return (labels >= classes.start) & (labels < classes.stop)


def _of_classes(images: Images, classes: range) -> Images:
    """The images of these classes, with labels that begin at 0."""
    own = images.some(_are_of(images.labels, classes))
    return own._replace(labels=own.labels - classes.start)
