from itertools import product

import pytest

from tests.cover import chosen

PRODUCT = [{"layout": a, "kind": b, "seed": c} for a, b, c in product(range(3), range(4), range(2))]


@pytest.mark.parametrize("count", [4, 12])
def test_few_cases_have_every_value_and_more_have_every_pair(count):
    found = [PRODUCT[place] for place in chosen(PRODUCT, count)]
    assert len(found) == count
    for name, number in {"layout": 3, "kind": 4, "seed": 2}.items():
        assert {case[name] for case in found} == {*range(number)}
    if count == 12:
        assert {(case["layout"], case["kind"]) for case in found} == {*product(range(3), range(4))}


def test_no_more_are_chosen_than_there_are():
    assert chosen(PRODUCT[:3], 9) == [0, 1, 2]
    assert chosen([], 2) == []


def test_cases_of_one_parameter_are_taken_from_all_over():
    assert chosen([{"row": number} for number in range(9)], 3) == [0, 4, 8]
