"""States of generators go through JSON and back, and what a block draws is undone."""

import json
import random

import numpy as np
import pytest
import torch

from modprompt.active import generators
from modprompt.trainers.evaluation import take_number


def draws():
    return random.random(), random.gauss(0, 1), np.random.random_sample(), np.random.randn(), torch.rand(3).tolist()


def test_states_go_through_json():
    random.gauss(0, 1), np.random.randn()  # both keep a second number for the next call
    states = json.loads(json.dumps(generators.taken()))
    before = draws()
    generators.put(states)
    assert draws() == before


def test_a_block_leaves_no_draw_behind():
    states = generators.taken()
    with pytest.raises(ZeroDivisionError), generators.kept():
        draws() and 1 / 0
    assert generators.taken() == states


@pytest.mark.parametrize("workers", [0, 2])
def test_a_number_is_what_a_loader_takes(workers):
    torch.manual_seed(3)
    list(torch.utils.data.DataLoader([1, 2, 3], num_workers=workers))
    behind = torch.get_rng_state()
    torch.manual_seed(3)
    take_number()
    assert torch.equal(torch.get_rng_state(), behind)
    torch.manual_seed(3)
    generators.take_numbers(2)
    assert not torch.equal(torch.get_rng_state(), behind)
