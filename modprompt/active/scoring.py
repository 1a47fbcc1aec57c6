"""The outputs of a trained model for all images of a pool: features, probabilities, class features.

Shapes: N images, C classes, E joint width, B images in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
    """A loader of Dassl's records in their order, like that of the trainer's test images."""
    like, node = trainer.test_loader, trainer.cfg.DATALOADER
    return DataLoader(
        type(like.dataset)(trainer.cfg, images, transform=like.dataset.transform, is_train=False),
        batch_size=node.TEST.BATCH_SIZE,
        num_workers=node.NUM_WORKERS,
        pin_memory=bool(getattr(like, "pin_memory", False)),
    )


class Scorer:
    """Runs models on one list of images, round after round.

    Image features that no prompts change are computed once, and kept on the CPU.

    Args:
        images: Dassl's records.
    """

    def __init__(self, images: Sequence[Any]) -> None:
        self.images = list(images)
        self._kept: Any = None  # FeatureBatches, once they are computed

    def _outputs(self, trainer: Any, model: Any) -> Iterator[Output]:
        of, batches = model.of_features, self._kept
        if trainer.evaluation.prompts_images:
            of, batches = model.output, tqdm(loader_of(trainer, self.images), desc="looking at the pool", disable=None)
        elif self._kept is None:
            loader = loader_of(trainer, self.images)
            batches = self._kept = FeatureBatches(*encode(loader, trainer.evaluation.encode_image), loader)
        for batch in batches:
            output = of(batch["img"].to(trainer.device, non_blocking=True))
            require_finite(output.logits)
            yield output

    def each(self, trainer: Any, model: Any, of: Callable[[Output], T]) -> list[T]:
        """A function's values on the outputs of a trainer's model, for each batch of images; no generator moves.

        Raises:
            FloatingPointError: if a logit is not finite.
        """
        trainer.set_model_mode("eval")
        model.set_mode(False)
        with torch.no_grad(), generators.kept(), model.unchanging():
            return [of(output) for output in self._outputs(trainer, model)]

    def scored(self, trainer: Any, order: Sequence[int] | None = None) -> Scored:
        """The outputs of a trainer's model for all images; `order` says which image each row is of."""
        many, done, text = len(self.images), 0, torch.zeros(())
        row_of = torch.empty(many, dtype=torch.long)
        row_of[torch.arange(many) if order is None else torch.tensor(order)] = torch.arange(many)
        matrices: list[Tensor] = []

        def keep(output: Output) -> None:
            nonlocal done, text
            rows = row_of[done : done + len(output.logits)]
            found = output.image.float(), output.logits.float().softmax(dim=-1)
            if not done:
                matrices.extend(torch.empty(many, part.shape[1]) for part in found)
            for matrix, part in zip(matrices, found):
                matrix[rows] = part.cpu()
            if output.text.dim() == 3:
                text = text + output.text.double().sum(dim=0).cpu() / many
            elif not done:
                text = output.text.cpu()
            done += len(rows)

        self.each(trainer, trainer.model, keep)
        features, probabilities = matrices
        return Scored(features, probabilities, text.float())

    def accuracy_pct(self, trainer: Any, model: Any) -> float:
        """Accuracy of a model on the images, whose labels must be known, in percent."""
        predicted = torch.cat(self.each(trainer, model, lambda output: output.logits.argmax(dim=-1))).cpu()
        labels = torch.tensor([image.label for image in self.images])
        return 100 * int((predicted == labels).sum()) / len(labels)
