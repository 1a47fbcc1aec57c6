"""The outputs of a trained model for all images of a pool: features, probabilities, class features.

Shapes: N images, C classes, E joint width, B images in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from modprompt.active import generators
from modprompt.engine.model import Output
from modprompt.engine.precision import require_finite
from modprompt.trainers.evaluation import FeatureBatches, encode

T = TypeVar("T")
_SUMS = 256  # how many batches' class features that depend on the image are kept before they are added up


class Scored(NamedTuple):
    """Float32, on the CPU: a pool may be larger than a GPU.

    features: (N, E) of norm 1.
    probabilities: (N, C), the softmax of logits in float32.
    text: (C, E) class features; their mean over all images where they depend on the image.
    """

    features: Tensor
    probabilities: Tensor
    text: Tensor


def loader_of(trainer: Any, images: Sequence[Any]) -> Any:
    """A loader of images in their order, like that of the trainer's test images.

    Args:
        trainer: with a test loader over a data set of Dassl's form.
        images: Dassl's records.
    """
    like = trainer.test_loader.dataset
    node = trainer.cfg.DATALOADER
    return DataLoader(
        type(like)(trainer.cfg, images, transform=like.transform, is_train=False),
        batch_size=node.TEST.BATCH_SIZE,
        num_workers=node.NUM_WORKERS,
        pin_memory=bool(getattr(trainer.test_loader, "pin_memory", False)),
    )


class Scorer:
    """Runs models on one list of images, round after round.

    Image features that no prompts change are computed once, and kept on the CPU.

    Args:
        images: Dassl's records.
    """

    def __init__(self, images: Sequence[Any]) -> None:
        self.images = list(images)
        self._kept: FeatureBatches | None = None

    def each(self, trainer: Any, model: Any, of: Callable[[Output], T]) -> list[T]:
        """A function's values on the outputs of a trainer's model, for each batch of images; no generator moves.

        Only what the function returns is kept.

        Raises:
            FloatingPointError: if a logit is not finite.
        """
        trainer.set_model_mode("eval")
        model.set_mode(False)
        with torch.no_grad(), generators.kept(), model.unchanging():
            if trainer.evaluation.prompts_images:
                batches = tqdm(loader_of(trainer, self.images), desc="looking at the pool", disable=None)
                return [of(_checked(model.output(_on(trainer, batch)))) for batch in batches]
            if self._kept is None:
                loader = loader_of(trainer, self.images)
                self._kept = FeatureBatches(*encode(loader, trainer.evaluation.encode_image), loader)
            return [of(_checked(model.of_features(_on(trainer, batch)))) for batch in self._kept]

    def scored(self, trainer: Any) -> Scored:
        """The outputs of a trainer's model for all images."""
        features, probabilities = _Rows(len(self.images)), _Rows(len(self.images))
        texts: list[Tensor] = []

        def keep(output: Output) -> None:
            features.add(output.image.float())
            probabilities.add(output.logits.float().softmax(dim=-1))
            if output.text.dim() == 3 or not texts:
                texts.append(output.text.float().cpu())
            if len(texts) == _SUMS:
                texts[:] = [torch.cat(texts).sum(dim=0, keepdim=True)]

        self.each(trainer, trainer.model, keep)
        text = texts[0] if texts[0].dim() == 2 else torch.cat(texts).sum(dim=0) / len(self.images)
        return Scored(features.whole, probabilities.whole, text)

    def accuracy_pct(self, trainer: Any, model: Any) -> float:
        """Accuracy of a model on the images, whose labels must be known, in percent."""
        predicted = torch.cat(self.each(trainer, model, lambda output: output.logits.argmax(dim=-1))).cpu()
        labels = torch.tensor([image.label for image in self.images])
        return 100 * int((predicted == labels).sum()) / len(labels)


class _Rows:
    """A matrix on the CPU that is filled from its first row.

    Args:
        number: of its rows.
    """

    whole: Tensor

    def __init__(self, number: int) -> None:
        self._number, self._filled = number, 0

    def add(self, rows: Tensor) -> None:
        if not self._filled:
            self.whole = torch.empty(self._number, rows.shape[1], dtype=rows.dtype)
        self.whole[self._filled : self._filled + len(rows)] = rows
        self._filled += len(rows)


def _checked(output: Output) -> Output:
    """An output; class features that depend on the image, which would fill memory, are summed to (1, C, E).

    Raises:
        FloatingPointError: if a logit is not finite.
    """
    require_finite(output.logits)
    text = output.text if output.text.dim() == 2 else output.text.float().sum(dim=0, keepdim=True)
    return Output(output.logits, output.image, text)


def _on(trainer: Any, batch: Any) -> Tensor:
    """A batch's images, or their features, on the trainer's device."""
    images: Tensor = batch["img"].to(trainer.device, non_blocking=True)
    return images
