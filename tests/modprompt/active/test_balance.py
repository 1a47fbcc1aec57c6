"""PCB draws and picks as the reference does, and goes on where that gives up."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modprompt.active.selection import balance
from tests.modprompt.active.given import GOLDEN

CASES = sorted(case for case in GOLDEN if case.startswith("pcb_"))


@pytest.mark.parametrize("case", CASES)
def test_picks_and_draws_are_those_of_the_reference(case):
    wanted = GOLDEN[case]
    random.seed(1)
    found = balance(wanted["pseudo_labels"], wanted["counts"], len(wanted["picks"]), give_up=True)
    assert random.random() == pytest.approx(wanted["random_after"], abs=1e-8)
    assert [GOLDEN["entropy_40"][pick.position] for pick in found] == wanted["picks"]
    after = list(wanted["counts"])
    for pick in found:
        after[pick.poorest] += not pick.by_chance
    assert after == wanted["counts_after"]


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=30), st.lists(st.integers(0, 6), min_size=5, max_size=5), st.data()
)
def test_every_pick_is_for_the_poorest_class_that_has_a_candidate(predicted, counts, data):
    budget = data.draw(st.integers(0, len(predicted)))
    labels, left = list(counts), dict(enumerate(predicted))
    for position, poorest, by_chance in balance(predicted, counts, budget, give_up=False):
        assert not by_chance
        assert poorest == min(set(left.values()), key=lambda own: (labels[own], own))
        assert left.pop(position) == poorest
        labels[poorest] += 1
    assert len(left) == len(predicted) - budget
