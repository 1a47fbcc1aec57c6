"""A test: images or kept features go in, logits go to the evaluator."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from modprompt.engine.precision import require_finite
from modprompt.io import base_new
from modprompt.trainers import kept_features
from modprompt.trainers.part import Part
from modprompt.trainers.unread import waits

MOST_BYTES = 256 * 2**20  # of logits that wait on a GPU: all of ImageNet's in half or single precision


class FeatureBatches:
    """Replaces a loader: batches of image features (B, E) under "img", with their labels (B,).

    They are pinned if the loader's own are.
    """

    def __init__(self, features: Tensor, labels: Tensor, loader: Any):
        if getattr(loader, "pin_memory", False):
            features, labels = features.pin_memory(), labels.pin_memory()
        self.features, self.labels, self.batch_size = features, labels, int(loader.batch_size)

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for start in range(0, len(self.labels), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield {"img": self.features[part], "label": self.labels[part]}


class Evaluation(Part):
    """Tests the model of a trainer.

    Attributes:
        loader: of the images of the last test.
        features: of these images (N, E), if all were computed before the logits.
        testing_s: seconds that the last test took.
        orders: accuracies of the last test in several orders, for its result; empty where the order does not matter.
    """

    loader: Any = None
    features: Tensor | None = None
    testing_s: float | None = None
    orders: Mapping[str, Any] = {}
    _tests = False  # True while `test` runs, which checks logits itself

    @torch.no_grad()
    def test(self, split: str | None) -> float:
        """As Dassl's `test`: the first result of the evaluator, accuracy in percent."""
        began_s, trainer = time.perf_counter(), self.trainer
        trainer.checkpoints.load_for_test()
        trainer.set_model_mode("eval")
        trainer.evaluator.reset()
        split = "val" if (split or self.cfg.TEST.SPLIT) == "val" and trainer.val_loader is not None else "test"
        print(f"Evaluate on the *{split}* set")
        waiting: list[tuple[Tensor, Tensor]] = []
        with self.model.unchanging(), self.model.prompt_learner.testing(), self._testing():
            batches = self.batches(split)
            told = tqdm(self.answered(batches), total=len(batches), disable=None)  # its loader starts before the bar
            for logits, labels in told:
                waiting.append(self.asked(split, logits, labels))
                logits = waiting[-1][0]
                if not waits(logits.device) or len(waiting) * logits.nbytes >= MOST_BYTES:
                    hand_over(waiting, trainer.evaluator)
        hand_over(waiting, trainer.evaluator)
        results = trainer.evaluator.evaluate()
        self.testing_s = time.perf_counter() - began_s
        if hasattr(trainer, "write_scalar"):  # not every Dassl has TensorBoard
            for name, value in results.items():
                trainer.write_scalar(f"{split}/{name}", value, trainer.epoch)
        first: float = next(iter(results.values()))
        return first

    def answered(self, batches: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits (B, C) and labels (B,) of each batch of a test; a loader starts at the call."""
        parsed = (self.trainer.parse_batch_test(batch) for batch in batches)
        return ((self.trainer.model_inference(images), labels) for images, labels in parsed)

    def asked(self, split: str, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The logits (B, C) and labels (B,) of a batch that count.

        A method that tests base and new classes apart classifies each image among the classes of its half; images of
        new classes choose no epoch.
        """
        if not self.halves_apart:
            return logits, labels
        border = base_new.base_classes(logits.shape[1])
        of_base = labels < border
        own = (torch.arange(logits.shape[1], device=logits.device) < border)[None] == of_base[:, None]
        logits = logits.masked_fill(~own, torch.finfo(logits.dtype).min)
        chooses = split == "val" and self.cfg.TEST.SPLIT != "val"
        return (logits[of_base], labels[of_base]) if chooses else (logits, labels)

    @property
    def halves_apart(self) -> bool:
        """Whether base and new classes are tested apart, each among their own."""
        if not self.method.results.halves_apart:
            return False
        return self.cfg.DATASET.SUBSAMPLE_CLASSES == "all" and not bool(self.cfg.TEST.BASE_NEW)

    @contextlib.contextmanager
    def _testing(self) -> Iterator[None]:
        self._tests = True
        try:
            yield
        finally:
            self._tests = False

    def batches(self, split: str) -> Any:
        """Batches of images, or of their features if a setting asks for these; its length is their number."""
        loader: Any = self.trainer.val_loader if split == "val" else self.trainer.test_loader
        found = self._feature_batches(loader)
        self.loader = loader
        self.features = None if found is None else found.features
        return loader if found is None else found

    def _feature_batches(self, loader: Any) -> FeatureBatches | None:
        """Image features in place of images, if a setting asks for them or names some; else None."""
        test = self.cfg.TEST
        if self.model.prompt_learner.writes:  # each batch has other prompts: no features hold for all
            return None
        found = kept_features.find(self.trainer, loader, test.FEATURES_OF) if test.FEATURES_OF else None
        if found is not None:
            take_number()
            return FeatureBatches(*found, loader)
        return FeatureBatches(*encode(loader, self.encode_image), loader) if test.KEEP_FEATURES else None

    @property
    def prompts_images(self) -> bool:
        """Whether image features change with what is learned."""
        return bool(self.model.prompts_images)

    def encode_image(self, image: Tensor) -> Tensor:
        """Features (B, E) of images (B, 3, H, W) from the image encoder."""
        features: Tensor = self.model.encode_image(image.to(self.trainer.device, non_blocking=True))
        return features

    def logits(self, images: Tensor) -> Tensor:
        """Logits (B, C) of a test batch: images (B, 3, H, W), or what encode_image gave for them (B, E).

        Raises:
            FloatingPointError: if they are not finite; not during `test`, which checks them itself.
        """
        logits: Tensor = self.model(images) if images.dim() == 4 else self.model.of_features(images).logits
        if not self._tests:
            require_finite(logits)
        return logits


def hand_over(batches: list[tuple[Tensor, Tensor]], evaluator: Any) -> None:
    """Give an evaluator batches of logits (B, C) and labels (B,), and empty the list.

    A GPU's are copied to the CPU, half precision as single, with the same values.

    Raises:
        FloatingPointError: if a logit is not finite.
    """
    for logits, labels in batches:
        if waits(logits.device):
            logits, labels = (logits if logits.dtype == torch.float64 else logits.float()).cpu(), labels.cpu()
        require_finite(logits)
        evaluator.process(logits, labels)
    batches.clear()


def take_number() -> None:
    """Draw the number that iterating over a loader draws from PyTorch's generator: later draws stay the same."""
    torch.empty((), dtype=torch.int64).random_()


def encode(loader: Any, encode_image: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Features (N, E) of a loader's images, float32, and their labels (N,), on the CPU; copied from a GPU at once."""
    batches = []
    for batch in tqdm(loader, desc="encoding images", disable=None):
        features = encode_image(batch["img"]).to(torch.float32, copy=True)  # a compiled encoder may reuse its memory
        batches.append((features, batch["label"]))
    features, labels = (torch.cat(parts).cpu() for parts in zip(*batches))
    return features, labels
