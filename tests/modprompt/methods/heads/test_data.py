import pytest
import torch

from modprompt.errors import UserError
from modprompt.methods.heads.base import Bank, unit_mean_text

VIEW, LABELS, TEXT = torch.randn(4, 3), torch.tensor([0, 1, 1, 0]), torch.randn(2, 5, 3)


def test_labels_are_those_of_each_view():
    made = Bank.of([VIEW, VIEW], LABELS, TEXT)
    assert made.views.shape == (2, 4, 3)
    assert made.labels.tolist() == [[0, 1, 1, 0]] * 2
    assert Bank.of([VIEW, VIEW], [LABELS, LABELS.flip(0)], TEXT).labels[1].tolist() == [0, 1, 1, 0]
    assert Bank.of([], LABELS, TEXT).views.shape == (0, 0, 3)


def test_a_bank_that_does_not_fit_is_refused():
    for views, labels in [
        ([VIEW[:3]], LABELS),
        ([VIEW, VIEW], [LABELS]),
        ([VIEW, VIEW[:3]], LABELS),
        ([VIEW[:0]], LABELS[:0]),
    ]:
        with pytest.raises(UserError, match="The features of the views have the shapes .*, but the labels"):
            Bank.of(views, labels, TEXT)
    with pytest.raises(UserError, match="none of the 2 classes"):
        Bank.of([VIEW], LABELS + 1, TEXT)


def test_unit_mean_is_the_direction_of_the_mean_of_directions():
    rows = [row / row.norm() for row in TEXT[1]]
    mean = sum(rows) / len(rows)
    torch.testing.assert_close(unit_mean_text(TEXT)[1], mean / mean.norm())
