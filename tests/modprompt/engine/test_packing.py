import random

import pytest
import torch

from modprompt.engine.packing import Suffix, count_shared, group_by_length, order_of, split


@pytest.mark.parametrize("seed", range(20))
def test_groups_hold_every_class_once_within_the_padding(seed):
    rng = random.Random(seed)
    lengths = [rng.randint(2, 15) for _ in range(rng.choice((1, 5, 50, 400)))]
    groups = group_by_length(lengths)
    assert sorted(number for group in groups for number in group.classes) == list(range(len(lengths)))
    for group in groups:
        assert group.length == max(group.lengths)
        assert [lengths[number] for number in group.classes] == list(group.lengths)
    computed = sum(len(group.classes) * group.length for group in groups)
    assert sum(lengths) <= computed <= 1.05 * sum(lengths)
    laid = [number for group in groups for number in group.classes]
    assert [laid[place] for place in order_of(groups)] == list(range(len(lengths)))


def test_without_padding_groups_have_one_length():
    groups = group_by_length([3, 4, 4, 9], padding=0)
    assert [(group.classes, group.length) for group in groups] == [((0,), 3), ((1, 2), 4), ((3,), 9)]


def test_shared_columns_end_before_the_first_end():
    symbols = torch.tensor([[1, 2, 3, 9], [1, 2, 4, 9]])
    assert count_shared(symbols, torch.tensor([3, 3])) == 2
    assert count_shared(symbols[:1], torch.tensor([3])) == 3
    assert count_shared(symbols, torch.tensor([1, 3])) == 1


@pytest.mark.parametrize("most", [1, 5, 7, 12, 100])
def test_chunks_keep_order_and_size(most):
    suffixes = [
        Suffix(torch.arange(12.0).reshape(1, 4, 3, 1), torch.tensor([2, 1, 2, 2]), True),
        Suffix(torch.arange(10.0).reshape(1, 2, 5, 1) + 100, torch.tensor([4, 4]), False),
    ]
    chunks = split(suffixes, most)
    for chunk in chunks:
        tokens = sum(suffix.tokens.shape[1] * suffix.tokens.shape[2] for suffix in chunk)
        assert tokens <= most or sum(len(suffix.end) for suffix in chunk) == 1
    ends = torch.cat([suffix.end for chunk in chunks for suffix in chunk])
    values = torch.cat([suffix.tokens.flatten() for chunk in chunks for suffix in chunk])
    assert ends.tolist() == [2, 1, 2, 2, 4, 4]
    assert values.tolist() == [*range(12), *range(100, 110)]
