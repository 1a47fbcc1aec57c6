"""The predictions of a test for each image, recorded from the inputs of the evaluator."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from modprompt.data.reader_facts import reader_facts
from modprompt.io.images import below
from modprompt.io.run_files import BINS, MOST_TOP, TestParts, Wrong

_ODD = "the test did not give one finite logit per class for each image"


class _Batch(NamedTuple):
    """The labels, predictions and confidence scores of a batch of B images."""

    labels: Tensor
    top: Tensor
    probabilities: Tensor
    own: Tensor
    scores: Tensor


def scores(logits: Tensor, shares: Tensor) -> Tensor:
    """Return the confidence scores (B, 2) of logits (B, C): the largest probability and the logsumexp."""
    return torch.stack([shares.amax(1), logits.logsumexp(1)], dim=1)


def _batch(logits: Tensor, labels: Tensor) -> _Batch:
    """Return the values to record for a batch of logits and labels."""
    logits, labels = logits.detach().cpu().double(), labels.detach().cpu().long()
    shares, predicted = logits.softmax(1), logits.argmax(1, keepdim=True)
    top = logits.scatter(1, predicted, float("inf")).topk(min(MOST_TOP, logits.shape[1]), dim=1).indices
    return _Batch(labels, top, shares.gather(1, top), shares.gather(1, labels[:, None])[:, 0], scores(logits, shares))


class Answers:
    """Records the inputs of an evaluator, which works as before.

    Args:
        evaluator: an object with `reset()` and `process(logits (B, C), labels (B,))`.

    Attributes:
        columns: the number of columns of the last logits; 0 before the first, or if they are not logits.
        classes: the number of classes.
        why_not: why there are no predictions; empty if there are predictions.
    """

    def __init__(self, evaluator: Any):
        reset, process = evaluator.reset, evaluator.process
        self._forget()

        def resetting() -> None:
            self._forget()
            reset()

        def processing(logits: Any, labels: Any) -> None:
            process(logits, labels)
            self._take(logits, labels)

        evaluator.reset, evaluator.process = resetting, processing

    def _forget(self) -> None:
        self._batches: list[_Batch] = []
        self.columns, self.classes, self.why_not = 0, 0, "nothing was tested"

    def _take(self, logits: Any, labels: Any) -> None:
        columns = logits.shape[-1] if isinstance(logits, Tensor) and logits.dim() == 2 else 0
        classes = self.classes or columns
        if not predictions_fit(logits, labels, classes):
            self._forget()
            self.columns, self.classes, self.why_not = columns, -1, _ODD  # no later batch fits either
            return
        self.columns, self.classes, self.why_not = columns, classes, ""
        self._batches.append(_batch(logits, labels))

    def _all(self) -> _Batch:
        return _Batch(*(torch.cat(parts) for parts in zip(*self._batches)))

    def scores(self) -> Tensor:
        """Return the scores (N, 2) of all images."""
        return self._all().scores

    def top_pct(self) -> float:
        """Return the share of images whose class is among the five most probable classes, in percent."""
        found = self._all()
        return 100.0 * float((found.top == found.labels[:, None]).any(1).double().mean())

    def labels_and_predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the labels (N,) and the most probable classes (N,) of all images, int64."""
        found = self._all()
        return found.labels.numpy(), found.top[:, 0].numpy()

    def are_of(self, images: Sequence[Any]) -> bool:
        """Return True if the labels of the images, in this order, are those of the test."""
        return [image.label for image in images] == self._all().labels.tolist()

    def parts(self, names: Sequence[str], dataset: Any, images: Sequence[Any]) -> tuple[TestParts, dict[str, str]]:
        """Return the tables and arrays that a test writes to its folder.

        Args:
            names: the class names, by label.
            dataset: the data set of the images; paths are relative to its `image_root`, if it has one.
            images: the tested images in the order of the data set.

        Returns:
            The parts, and the reasons why parts are empty by the name of the part.
        """
        found, notes = self._all(), {}
        labels, predicted = self.labels_and_predictions()
        classes = self.classes
        confusion = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
        calibration = bins_of(found.probabilities[:, 0].numpy(), labels == predicted)
        wrong: list[Wrong] = []
        if self.are_of(images):
            root = reader_facts(dataset).image_root
            wrong = [
                Wrong(
                    below(str(images[at].impath), root),
                    int(labels[at]),
                    tuple(found.top[at].tolist()),
                    tuple(found.probabilities[at].tolist()),
                    float(found.own[at]),
                )
                for at in (labels != predicted).nonzero()[0].tolist()
            ]
        else:
            notes["list of wrong images"] = "the images were tested in another order than that of the data set"
        return TestParts(list(names), confusion, calibration, wrong), notes


def predictions_fit(logits: Any, labels: Any, classes: int) -> bool:
    return (
        classes > 0
        and isinstance(logits, Tensor)
        and isinstance(labels, Tensor)
        and logits.is_floating_point()
        and logits.dim() == 2
        and tuple(logits.shape) == (len(labels), classes)
        and labels.shape == logits.shape[:1]
        and bool(((labels >= 0) & (labels < classes)).all())
        and bool(torch.isfinite(logits).all())
    )


def bins_of(confidence: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Return the number of images, the mean confidence and the accuracy for each confidence bin, shape (BINS, 3).

    The bins are those of scikit-learn's calibration_curve.
    """
    bins = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence)
    counts, sums, right = (np.bincount(bins, weights=x, minlength=BINS) for x in (None, confidence, hits))
    filled = np.maximum(counts, 1)
    return np.stack([counts, sums / filled, right / filled], axis=1)


def ece_pct(calibration: np.ndarray) -> float | None:
    """Return the expected calibration error in percent: the mean over images of |accuracy - confidence| of their bins.

    Args:
        calibration: the number of images, mean confidence and accuracy of bins (bins, 3). Without images, the result is
            None.
    """
    images, confidence, accuracy = calibration.T
    return 100.0 * float((images * abs(accuracy - confidence)).sum() / images.sum()) if images.sum() else None
