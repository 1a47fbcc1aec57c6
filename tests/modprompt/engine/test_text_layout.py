import random

import pytest
import torch

from modprompt.engine.text_layout import (
    FEW_TOKENS,
    Suffix,
    count_shared,
    group_by_length,
    lay_out,
    most_sequences,
    order_of,
    split,
)

CPU, CARD = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("seed", range(6))
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


def test_a_cpu_shares_what_it_can():
    layout = lay_out([8, 10, 8], 5, CPU)
    assert layout.shared == 5
    assert [(group.classes, group.length) for group in layout.groups] == [((0, 2), 4), ((1,), 6)]


def test_few_tokens_on_a_card_are_whole_sequences_of_one_length():
    layout = lay_out([8, 10, 8], 5, CARD)
    assert layout.shared == 0
    assert [(group.classes, group.lengths, group.length) for group in layout.groups] == [((0, 1, 2), (9, 11, 9), 11)]


def test_many_tokens_on_a_card_share_their_beginning_in_few_groups():
    many = FEW_TOKENS // 11 + 1
    assert lay_out([10] * (many - 1), 5, CARD).shared == 0
    layout = lay_out([10] * many, 5, CARD)
    assert layout.shared == 5
    assert len(layout.groups) == 1
    assert lay_out([10], 5, CARD, of_images=True).shared == 5
    ends = [8, 9, 10, 11] * many
    assert len(lay_out(ends, 5, CARD).groups) == 1
    assert len(lay_out(ends, 5, CPU).groups) == 3
    long_names = [8] * (20 * many) + [30] * many  # padding them to one length would cost more than a group
    assert [group.length for group in lay_out(long_names, 5, CARD).groups] == [4, 26]


def test_shared_columns_end_before_the_first_end():
    symbols = torch.tensor([[1, 2, 3, 9], [1, 2, 4, 9]])
    assert count_shared(symbols, torch.tensor([3, 3])) == 2
    assert count_shared(symbols[:1], torch.tensor([3])) == 3
    assert count_shared(symbols, torch.tensor([1, 3])) == 1


@pytest.mark.parametrize(
    ("length", "heads", "width", "most"),
    [
        (20, 8, 512, 32767),  # ViT-B: 2^31 elements of 128 tokens, less one
        (128, 12, 768, 21845),
        (129, 8, 512, 16383),
        (20, 16, 1280, 10922),  # heads of 80 count as 96
        (20, 1, 64, 65535),  # the grid
    ],
)
def test_sequences_of_a_call_of_attention_are_bounded_on_a_card(length, heads, width, most):
    assert most_sequences(length, heads, width, CARD) == most
    assert most_sequences(length, heads, width, CPU) is None
    with torch.no_grad():  # flash's forward pass numbers no elements
        assert most_sequences(length, heads, width, CARD) == 65535


@pytest.mark.parametrize("classes", [None, 0, 1, 3, 100])
@pytest.mark.parametrize("most", [None, 1, 5, 7, 12, 100])
def test_chunks_keep_order_and_size(most, classes):
    suffixes = [
        Suffix(torch.arange(12.0).reshape(1, 4, 3, 1), torch.tensor([2, 1, 2, 2]), True),
        Suffix(torch.arange(10.0).reshape(1, 2, 5, 1) + 100, torch.tensor([4, 4]), False),
    ]
    chunks = split(suffixes, most, classes)
    for chunk in chunks:
        tokens = sum(suffix.tokens.shape[1] * suffix.tokens.shape[2] for suffix in chunk)
        count = sum(len(suffix.end) for suffix in chunk)
        assert most is None or tokens <= most or count == 1
        assert classes is None or 1 <= count <= max(1, classes)
    assert len(chunks) == 1 or (most, classes) != (None, None)
    ends = torch.cat([suffix.end for chunk in chunks for suffix in chunk])
    values = torch.cat([suffix.tokens.flatten() for chunk in chunks for suffix in chunk])
    assert ends.tolist() == [2, 1, 2, 2, 4, 4]
    assert values.tolist() == [*range(12), *range(100, 110)]
