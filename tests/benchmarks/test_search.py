"""All sides of the search's benchmark compute the same, and its lines say what was measured."""

import pytest
import torch
import torch.nn.functional as F

import modprompt
from benchmarks import search
from benchmarks.plain_search import PlainSearch
from tests.conftest import random_clip

NAMES = ["cat", "dog with a hat", "sea or lake"]


@pytest.fixture
def clip_model():
    return random_clip(2, text_width=128)


@pytest.fixture
def model(clip_model):
    model = modprompt.DPLSearch(n_ctx_text=3, n_ctx_vision=2).on(clip_model, NAMES)
    with torch.no_grad():
        for alphas in model.alpha_parameters():
            alphas.copy_(torch.randn(alphas.shape))
    return model


def logits_and_gradients(logits_of, model):
    logits = logits_of(torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32).sin())
    loss = F.cross_entropy(logits, torch.tensor([0, 2]))
    return logits, torch.autograd.grad(loss, list(model.prompt_learner.parameters()))


def assert_alike(found, wanted):
    assert (found[0] - wanted[0]).abs().max() <= 1e-5 * wanted[0].abs().max()
    largest = max(one.abs().max() for one in wanted[1])
    assert all((one - two).abs().max() <= 1e-5 * largest for one, two in zip(found[1], wanted[1]))


def test_plain_side_has_our_numbers(clip_model, model):
    plain = PlainSearch(model.prompt_learner, clip_model, NAMES)
    assert_alike(logits_and_gradients(model, model), logits_and_gradients(plain, model))


@pytest.mark.parametrize("side", [search.OURS, search.PLAIN])
def test_step_changes_alphas_and_prompts(clip_model, monkeypatch, side):
    made = []
    on = modprompt.DPLSearch.on
    monkeypatch.setattr(modprompt.DPLSearch, "on", lambda *args: made.append(on(*args)) or made[-1])
    monkeypatch.setattr(search, "SIZE", 32)
    step = search.stepper(side, clip_model, classes=4, most=2)
    (model,) = made
    before = {name: value.detach().clone() for name, value in model.prompt_learner.named_parameters()}
    step()
    assert all(not torch.equal(before[name], value) for name, value in model.prompt_learner.named_parameters())


def test_sides_take_turns_and_lines_say_ratios(monkeypatch):
    now, order = [0.0], []

    def side(name, took):
        def run():
            order.append(name)
            now[0] += took

        return run

    monkeypatch.setitem(search.CLOCKS, "cpu", lambda: now[0])
    steps = {search.OURS: side("ours", 2.0), search.PLAIN: side("plain", 9.0)}
    taken = search.seconds(steps, rounds=2, clock="cpu")
    assert sorted(order[:2]) == ["ours", "plain"]  # one of each does not count
    assert order[2:4] == order[5:3:-1]
    assert search.lines(taken, {"ours": 2.0, "plain": 5.0}) == [
        "search step, plain / ours: 9.00 / 2.00 s, ratio 4.50 (rounds: 4.50, 4.50); "
        "peak memory 5.00 / 2.00 GiB, ratio 2.50; asked for, in time: 3.0"
    ]


@pytest.mark.slow
def test_side_that_fails_is_said(monkeypatch):
    args = type("Args", (), {"threads": 1, "classes": -1, "options": "many"})
    with pytest.raises(RuntimeError, match="ours failed: .*invalid int value: 'many'"):
        search.peak_gib("ours", args)
