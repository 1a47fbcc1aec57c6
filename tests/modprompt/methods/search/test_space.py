import itertools
import math
import random

import pytest

from modprompt.engine.schedule import Schedule
from modprompt.errors import UserError
from modprompt.methods.search.file import ALL
from modprompt.methods.search.space import best_path, margins, options, steps_of


def all_paths(layers, most_tokens):
    """Every path that is a schedule and has at most so many tokens."""
    for path in itertools.product(*(range(len(there)) for there in layers)):
        try:
            schedule = Schedule(steps_of(path, layers))
        except UserError:
            continue
        if not most_tokens or sum(schedule.counts) <= most_tokens:
            yield path


def total(path, log_weights):
    """Summed from the last layer on, as best_path does."""
    found = 0.0
    for row, option in zip(reversed(log_weights), reversed(path)):
        found = row[option] + found
    return found


def test_options_are_in_order_of_what_they_remove():
    assert options(1, True, 2) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (ALL, 0), (ALL, 1), (ALL, 2)]
    assert options(0, False, 1) == [(0, 0), (0, 1)]
    assert options(0, True, 0) == [(0, 0), (ALL, 0)]


@pytest.mark.parametrize("seed", range(12))
def test_path_is_that_of_all_paths(seed):
    draw = random.Random(seed)
    depth = draw.randint(1, 4)
    layers = [options(draw.randint(0, 2), draw.random() < 0.5, draw.randint(0, 2)) for _ in range(depth)]
    log_weights = [[draw.gauss(0, 1) for _ in there] for there in layers]
    for most in (0, 1, 3, 6):
        best = max(all_paths(layers, most), key=lambda path: total(path, log_weights))
        assert best_path(log_weights, layers, most) == best


@pytest.mark.parametrize("seed", range(6))
def test_of_equal_paths_it_is_the_first(seed):
    draw = random.Random(seed)
    layers = [options(1, True, 1)] * 4
    log_weights = [[draw.randint(-1, 0) for _ in there] for there in layers]
    for most in (0, 4):
        paths = list(all_paths(layers, most))
        top = max(total(path, log_weights) for path in paths)
        assert best_path(log_weights, layers, most) == next(p for p in paths if total(p, log_weights) == top)


def test_all_is_what_is_there():
    layers = [options(0, True, 2)] * 3
    path = [layers[0].index(option) for option in ((0, 2), (0, 1), (ALL, 2))]
    assert steps_of(path, layers) == [(0, 2), (0, 1), (3, 2)]


def test_cap_that_no_path_keeps_is_one_line_with_the_smallest():
    layers = [[(0, 1), (0, 2)], [(0, 0), (1, 1)], [(0, 1)]]
    with pytest.raises(UserError, match="at most 3 prompt tokens over all layers. Set MOST_TOKENS to 4 or more"):
        best_path([[0.0] * len(there) for there in layers], layers, 3)


def test_options_without_a_schedule_name_the_layer():
    with pytest.raises(UserError, match="every option of layer 1 removes more"):
        best_path([[0.0], [0.0]], [[(0, 1)], [(2, 5)]])


def test_a_real_search_space_takes_no_time():
    layers = [options(3, True, 3)] * 12
    draw = random.Random(1)
    log_weights = [[draw.gauss(0, 1) for _ in there] for there in layers]
    assert sum(Schedule(steps_of(best_path(log_weights, layers, 60), layers)).counts) <= 60


def test_margin_is_the_weight_over_the_best_other():
    rows = [[math.log(0.5), math.log(0.3), math.log(0.2)], [0.0, 0.0, -1000.0], [3.0]]
    assert margins(rows, (0, 0, 0)) == pytest.approx((0.2, 0.0, 1.0))
    assert margins(rows, (1, 2, 0)) == pytest.approx((-0.2, -0.5, 1.0))
