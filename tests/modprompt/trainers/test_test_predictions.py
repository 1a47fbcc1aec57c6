"""What a test says of each image: the same numbers as maintained libraries have, and the evaluator's own classes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve

from modprompt.errors import UserError
from modprompt.io.run_files import Wrong
from modprompt.trainers.result import ResultRecorder
from modprompt.trainers.test_predictions import Answers, ece_pct

NAMES = list("abcdefg")


class Evaluator:
    """Counts what it is given."""

    def __init__(self):
        self.batches = 0

    def reset(self):
        self.batches = 0

    def process(self, mo, gt):
        """A batch."""
        self.batches += 1


def drawn(number=200, classes=7, scale=3.0):
    generator = torch.Generator().manual_seed(1)
    logits = scale * torch.randn(number, classes, generator=generator)
    return logits, torch.randint(0, classes, (number,), generator=generator)


def images(labels, root="/data"):
    return [SimpleNamespace(impath=f"{root}/{label}/{at}.jpg", label=label) for at, label in enumerate(labels.tolist())]


def answered(logits, labels, size=64):
    evaluator = Evaluator()
    answers = Answers(evaluator)
    evaluator.reset()
    for some, their in zip(logits.split(size), labels.split(size)):
        evaluator.process(some, their)
    assert evaluator.batches == -(-len(labels) // size)
    assert answers.why_not == ""
    return answers


def test_numbers_are_those_of_a_loop():
    logits, labels = drawn()
    answers = answered(logits, labels)
    parts, notes = answers.parts(NAMES, SimpleNamespace(image_root="/data"), images(labels))
    assert notes == {}
    confusion = np.zeros((7, 7), dtype=int)
    wrong, five = [], 0
    for at, (row, label) in enumerate(zip(logits.double().softmax(1), labels.tolist())):
        top = row.argsort(descending=True)[:5].tolist()
        confusion[label, top[0]] += 1
        five += label in top
        if top[0] != label:
            wrong.append(Wrong(f"{label}/{at}.jpg", label, tuple(top), tuple(row[top].tolist()), row[label].item()))
    assert (parts.confusion == confusion).all()
    assert parts.wrong == wrong
    assert answers.top_pct() == pytest.approx(100 * five / 200)
    assert parts.names == NAMES
    assert parts.calibration[:, 0].sum() == 200


def test_bins_of_the_calibration_are_those_of_scikit_learn():
    logits, labels = drawn(500)
    images_of, mean, right = answered(logits, labels).parts(NAMES, None, images(labels))[0].calibration.T
    shares, predicted = logits.double().softmax(1).max(1)
    theirs, their_mean = calibration_curve((predicted == labels).int().numpy(), shares.numpy(), n_bins=15)
    assert images_of.sum() == 500
    assert right[images_of > 0].tolist() == theirs.tolist()
    assert mean[images_of > 0].tolist() == their_mean.tolist()


@pytest.mark.parametrize("all_right", [True, False])
def test_nothing_wrong_or_nothing_right(all_right):
    labels = torch.arange(20) % 7
    logits = torch.nn.functional.one_hot(labels if all_right else (labels + 1) % 7, 7) * 3.0
    parts, _ = answered(logits, labels).parts(NAMES, None, images(labels))
    confidence = float(logits.double().softmax(1).max())
    assert parts.calibration[:, 2].max() == (1 if all_right else 0)
    assert ece_pct(parts.calibration) == pytest.approx(100 * abs(confidence - all_right))
    assert len(parts.wrong) == (0 if all_right else 20)


def test_of_equal_logits_the_first_counts_as_evaluators_have_it():
    logits, labels = torch.zeros(3, 7), torch.tensor([0, 6, 2])
    parts, _ = answered(logits, labels).parts(NAMES, None, images(labels))
    assert parts.confusion[:, 0].tolist() == [1, 0, 1, 0, 0, 0, 1]
    assert [one.top[0] for one in parts.wrong] == [0, 0]


def test_a_new_test_forgets_the_one_before():
    evaluator = Evaluator()
    answers = Answers(evaluator)
    assert answers.why_not == "nothing was tested"
    evaluator.process(*drawn(9))
    evaluator.reset()
    assert answers.why_not == "nothing was tested"
    evaluator.process(*drawn(4))
    assert answers.parts(NAMES, None, images(drawn(4)[1]))[0].confusion.sum() == 4


@pytest.mark.parametrize(
    "odd",
    [
        (["text"], [0]),
        (torch.zeros(4), torch.zeros(4).long()),
        (torch.zeros(4, 7), torch.zeros(3).long()),
        (torch.zeros(4, 7).long(), torch.zeros(4).long()),
        (torch.zeros(4, 7), torch.full((4,), 7)),
        (torch.full((4, 7), float("nan")), torch.zeros(4).long()),
        (torch.zeros(4, 8), torch.zeros(4).long()),  # other classes than before
    ],
)
def test_what_is_no_logits_of_images_is_left_out_and_the_evaluator_has_it_all_the_same(odd):
    evaluator = Evaluator()
    answers = Answers(evaluator)
    evaluator.process(*drawn(4))
    evaluator.process(*odd)
    evaluator.process(*drawn(4))
    assert evaluator.batches == 3
    assert answers.why_not == "the test did not give one finite logit per class for each image"


def test_images_in_another_order_are_not_named():
    logits, labels = drawn(20)
    parts, notes = answered(logits, labels).parts(NAMES, None, images(labels.flip(0)))
    assert parts.wrong == []
    assert notes == {"list of wrong images": "the images were tested in another order than that of the data set"}
    assert parts.confusion.sum() == 20


@pytest.mark.parametrize("classes", [6, 8])
def test_logits_that_are_not_one_a_class_give_no_accuracy(classes):
    """Labels of a data set that has more than its model has names, as an empty class folder once made them."""
    evaluator = Evaluator()
    evaluator.evaluate = lambda: pytest.fail("an accuracy was printed")
    test = SimpleNamespace(OOD="")
    cfg = SimpleNamespace(DATASET=SimpleNamespace(NAME="Made"), TEST=test, OUTPUT_DIR="", RESUME="")
    trainer = SimpleNamespace(evaluator=evaluator, dm=SimpleNamespace(num_classes=7), cfg=cfg)
    ResultRecorder(trainer)
    evaluator.reset()
    _, labels = drawn()
    evaluator.process(drawn(classes=classes)[0], labels)
    with pytest.raises(
        UserError, match=f"Made has the labels 0 to 6, but the model returns {classes} logits per image"
    ):
        evaluator.evaluate()
