"""The outputs of a trained model for all images of a pool.

Shapes: N images, C classes, E joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from modprompt.active.acquisition import FEATURES, PROBABILITIES, Seen
from modprompt.engine.model import Output
from modprompt.engine.precision import require_finite
from modprompt.trainers.feature_batches import FeatureBatches, encode
from modprompt.trainers.training_state import generators_kept

KEPT = 2**31  # bytes of image features that are kept at most; those of a larger pool leave room for what is chosen by
T = TypeVar("T")


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

    Image features that no prompts change are computed once, and kept on the CPU, unless there are too many.

    Args:
        images: Dassl's records.
    """

    def __init__(self, images: Sequence[Any]) -> None:
        self.images = list(images)
        self._kept: Any = None  # FeatureBatches, once they are computed

    def _outputs(self, trainer: Any, model: Any) -> Iterator[Output]:
        of, batches = model.of_features, self._kept
        if model.prompts_images or 4 * model.feature_width * len(self.images) > KEPT:
            of, batches = model.output, tqdm(loader_of(trainer, self.images), desc="scoring images", disable=None)
        elif self._kept is None:
            loader = loader_of(trainer, self.images)
            batches = self._kept = FeatureBatches(*encode(loader, trainer.encode_image), loader)
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
        with torch.no_grad(), generators_kept(), model.unchanging():
            return [of(output) for output in self._outputs(trainer, model)]

    def seen(
        self,
        trainer: Any,
        unlabelled: Sequence[int],
        labels: Mapping[int, int],
        needs: Collection[str] = (FEATURES, PROBABILITIES),
        batch_size: int = 1,
    ) -> Seen:
        """What an acquisition may look at, by a trainer's model. Labelled images come first in what is made of all, so
        that no part is copied.

        Args:
            trainer: whose model scores the images.
            unlabelled: places of images without a label, ascending.
            labels: of the others, by place.
            needs: the matrices that the acquisition reads; the other is not made.
            batch_size: images in a training batch.
        """
        many, done, known = len(self.images), 0, len(labels)
        row_of = torch.empty(many, dtype=torch.long)
        row_of[torch.tensor([*labels, *unlabelled])] = torch.arange(many)
        made: dict[str, Any] = {"predicted": torch.empty(many, dtype=torch.long), "largest": torch.empty(many)}
        text = torch.zeros(())

        def keep(output: Output) -> None:
            nonlocal done, text
            rows = row_of[done : done + len(output.logits)]
            p = output.logits.float().softmax(dim=-1).cpu()
            largest, predicted = p.max(dim=1)
            parts = {FEATURES: output.image.float(), PROBABILITIES: p, "largest": largest, "predicted": predicted}
            for name in (FEATURES, PROBABILITIES):
                if name not in made:
                    made[name] = torch.empty(many, parts[name].shape[1] if name in needs else 0)
            for name, matrix in made.items():
                if matrix.dim() == 1 or name in needs:
                    matrix[rows] = parts[name].cpu()
            if output.text.dim() == 3:
                text = text + output.text.double().sum(dim=0).cpu() / many
            elif not done:
                text = output.text.cpu()
            done += len(rows)

        self.each(trainer, trainer.model, keep)
        features, p = made[FEATURES], made[PROBABILITIES]
        return Seen(
            features[known:],
            p[known:],
            features[:known],
            p[:known],
            torch.tensor(list(labels.values()), dtype=torch.long),
            text.float(),
            batch_size,
            made["predicted"][known:],
            made["largest"][known:],
        )

    def accuracy_pct(self, trainer: Any, model: Any) -> float:
        """Accuracy of a model on the images, whose labels must be known, in percent."""
        predicted = torch.cat(self.each(trainer, model, lambda output: output.logits.argmax(dim=-1))).cpu()
        labels = torch.tensor([image.label for image in self.images])
        return 100 * int((predicted == labels).sum()) / len(labels)
