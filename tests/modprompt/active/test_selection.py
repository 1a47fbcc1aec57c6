"""A round's picks: how many candidates there are, PCB behind any acquisition, and one of a user's own."""

import random

import numpy as np
import pytest
import torch

from modprompt.active import acquisition as form
from modprompt.active import selection
from modprompt.active.acquisition import Choice, find
from modprompt.data.rounds import METHODS, Active
from modprompt.errors import SettingError
from tests.modprompt.active.given import GOLDEN, golden_seen, random_seen, seen_of

NAMES = ["sea", "lake", "forest", "road", "crop"]


def settings(method, **others):
    return Active(**{"method": method, "rounds": 3, "gamma": 0.5, "pcb": method == "none", **others})


def select(seen, chosen, budget=5, images=80, counts=(1, 1, 1, 1, 1), names=NAMES):
    random.seed(0)
    np.random.seed(0)
    return selection.select(seen, chosen, budget, images, counts, names)


@pytest.mark.parametrize(
    ("chosen", "pool", "wanted"),
    [
        (settings("badge"), 70, 5),
        (settings("badge", pcb=True), 70, 40),
        (settings("pcb"), 70, 40),
        (settings("entropy", pcb=True), 30, 30),
        (settings("random", pcb=True), 70, 5),
        (settings("none"), 70, 70),
    ],
)
def test_number_of_candidates(chosen, pool, wanted):
    assert selection.candidates(chosen, budget=5, images=80, pool=pool) == wanted


@pytest.mark.parametrize("pcb", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_every_acquisition_picks_the_budget_with_and_without_pcb_from_the_matrices_that_it_needs(method, pcb):
    whole = random_seen(1, images=70, labelled=10)
    unread = {name for name in whole._fields[:4] if name.rpartition("_")[2] not in find(method).needs}
    seen = whole._replace(**{name: torch.empty(len(getattr(whole, name)), 0) for name in unread})
    before = torch.get_rng_state()
    picks = select(seen, settings(method, pcb=pcb or method == "none"))
    assert torch.equal(before, torch.get_rng_state())
    assert len({pick.position for pick in picks}) == 5
    for pick in picks:
        p = whole.probabilities[pick.position].tolist()
        assert pick.probability == max(p)
        assert pick.predicted == p.index(max(p))
        assert ("had the fewest labels" in pick.reason) == (pcb or method in ("none", "pcb"))
        assert pick.reason.startswith("free label" if pick.free is not None else find(method).score or method)


def test_too_few_candidates_are_refused_by_their_numbers():
    few = "^ACTIVE.GAMMA 0.05 of 80 images gives 4 candidates, fewer than the 5 labels"
    with pytest.raises(SettingError, match=few):
        select(random_seen(0, images=70), settings("badge", pcb=True, gamma=0.05))


def test_entropy_with_pcb_picks_what_the_reference_picks():
    wanted = GOLDEN["pcb_20_class_9_runs_out"]
    random.seed(1)
    chosen = settings("entropy", pcb=True, gamma=0.2, give_up=True)
    picks = selection.select(golden_seen(), chosen, 20, 200, wanted["counts"], [str(one) for one in range(10)])
    assert [pick.position for pick in picks] == wanted["picks"]
    assert random.random() == pytest.approx(wanted["random_after"], abs=1e-8)
    assert picks[0].reason.endswith("; class '9' had the fewest labels")
    assert picks[19].reason.endswith("; class '4' had no candidate left, so drawn at random")


def of_own(monkeypatch, choice, **more):
    """What comes of an acquisition that makes this choice from five images, where three are wanted."""
    made = form.Acquisition("own", lambda seen, number: choice, "rank")
    monkeypatch.setitem(form.ACQUISITIONS, "own", made)
    seen = seen_of(np.eye(5, 4), np.tile([0.5, 0.5], (5, 1)))
    return select(seen, settings("own", **more), budget=3, images=5, counts=[0, 0], names=["cat", "dog"])


def test_acquisition_of_ones_own_is_one_function(monkeypatch):
    assert of_own(monkeypatch, Choice([4, 2], [7.0, 3.5], {2: 0})) == [
        (4, 0, 0.5, 7.0, "rank 7", None),
        (2, 0, 0.5, 3.5, "free label 'cat'; rank 3.5", 0),
    ]
    choice = Choice(torch.tensor([4, 2]), np.array([7.0, 3.5]))  # arrays and tensors will do
    picks = of_own(monkeypatch, choice, pcb=True, gamma=1)
    assert sorted(pick.position for pick in picks) == [2, 4]  # no more than it gave


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ([4, 2], "return a Choice, but it returned a value of type list"),
        (Choice([1, 1], [0.0, 0.0]), "select 1 to 3 different positions from 0 to 4, each with a score"),
        (Choice([-1], [0.0]), "select"),
        (Choice([5], [0.0]), "select"),
        (Choice([], []), "select"),
        (Choice([0, 1, 2, 3], [0.0] * 4), "select"),
        (Choice([0, 1], [0.0]), "select"),
        (Choice([0], [float("nan")]), "return finite scores"),
        (Choice([0], [0.0], {1: 0}), "give free labels only to images that it selects, as class numbers from 0 to 1"),
        (Choice([0], [0.0], {0: 2}), "give free labels only"),
    ],
)
def test_choices_that_cannot_be_are_refused(choice, said, monkeypatch):
    with pytest.raises(ValueError, match=f"The acquisition function 'own' must {said}"):
        of_own(monkeypatch, choice)
