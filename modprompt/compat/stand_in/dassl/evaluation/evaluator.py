"""Accuracy, error and macro f1 of a classification, printed in lines that the family's parsers know."""

import os
from collections import OrderedDict

import numpy as np
import torch

from dassl.utils import Registry, check_availability

EVALUATOR_REGISTRY = Registry("EVALUATOR")


def build_evaluator(cfg, **kwargs):
    """The evaluator that cfg.TEST.EVALUATOR names."""
    check_availability(cfg.TEST.EVALUATOR, EVALUATOR_REGISTRY.registered_names(), "TEST.EVALUATOR")
    return EVALUATOR_REGISTRY.get(cfg.TEST.EVALUATOR)(cfg, **kwargs)


class EvaluatorBase:
    """What an evaluator does: reset, process batch by batch, evaluate."""

    def __init__(self, cfg):
        self.cfg = cfg

    def reset(self):
        """Forget all batches."""
        raise NotImplementedError

    def process(self, mo, gt):
        """Add a batch of model outputs and ground truth."""
        raise NotImplementedError

    def evaluate(self):
        """Print and return the results; the first is the one that counts."""
        raise NotImplementedError


@EVALUATOR_REGISTRY.register()
class Classification(EvaluatorBase):
    """Top-1 classification.

    Args:
        cfg: configuration.
        lab2cname: class name of each label, for results per class.
    """

    def __init__(self, cfg, lab2cname=None, **kwargs):
        super().__init__(cfg)
        self._lab2cname = lab2cname
        self.reset()

    def reset(self):
        """Forget all batches."""
        self._labels = []
        self._predictions = []

    def process(self, mo, gt):
        """Add logits (B, C) and labels (B,)."""
        self._predictions.extend(mo.argmax(dim=1).tolist())
        self._labels.extend(gt.tolist())

    def evaluate(self):
        """Print the result; return accuracy, error_rate and macro_f1 in percent."""
        labels, predictions = np.array(self._labels), np.array(self._predictions)
        hits = labels == predictions
        total, correct = len(hits), int(hits.sum())
        accuracy = 100.0 * correct / total
        kinds, most = np.unique(labels), max(labels.max(), predictions.max()) + 1
        right, own, said = (np.bincount(one, minlength=most)[kinds] for one in (labels[hits], labels, predictions))
        macro_f1 = float(
            100.0 * np.mean(2 * right / (own + said))
        )  # over classes with images; F1 = 2tp/(2tp + fp + fn)
        results = OrderedDict(accuracy=accuracy, error_rate=100.0 - accuracy, macro_f1=macro_f1)
        print(
            "=> result\n"
            f"* total: {total:,}\n"
            f"* correct: {correct:,}\n"
            f"* accuracy: {accuracy:.1f}%\n"
            f"* error: {100.0 - accuracy:.1f}%\n"
            f"* macro_f1: {macro_f1:.1f}%"
        )
        if self.cfg.TEST.PER_CLASS_RESULT:
            results["perclass_accuracy"] = self._print_per_class(labels, hits)
        if self.cfg.TEST.COMPUTE_CMAT:
            self._save_confusion(labels, predictions)
        return results

    def _print_per_class(self, labels, hits):
        print("=> per-class result")
        shares = []
        for label in np.unique(labels).tolist():
            own = hits[labels == label]
            shares.append(100.0 * own.mean())
            print(
                f"* class: {label} ({self._lab2cname[label]})\ttotal: {len(own):,}\t"
                f"correct: {int(own.sum()):,}\tacc: {shares[-1]:.1f}%"
            )
        print(f"* average: {np.mean(shares):.1f}%")
        return float(np.mean(shares))

    def _save_confusion(self, labels, predictions):
        path = os.path.join(self.cfg.OUTPUT_DIR, "cmat.pt")
        kinds = np.union1d(labels, predictions)
        places = np.searchsorted(kinds, labels) * len(kinds) + np.searchsorted(kinds, predictions)
        counts = np.bincount(places, minlength=len(kinds) ** 2).reshape(len(kinds), -1)
        torch.save(torch.from_numpy(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)), path)
        print(f"Confusion matrix is saved to {path}")
