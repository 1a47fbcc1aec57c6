"""All sides of the search's benchmark compute the same, and its lines say what was measured."""

import torch
import torch.nn.functional as F

import modprompt
from benchmarks import search
from benchmarks.plain_search import PlainSearch
from tests.conftest import random_clip

NAMES = ["cat", "dog with a hat", "sea or lake"]


def test_plain_side_has_our_logits_and_gradients():
    clip_model, images = random_clip(2, text_width=128), torch.randn(2, 3, 32, 32)
    model = modprompt.DPLSearch(n_ctx_text=3, n_ctx_vision=2).on(clip_model, NAMES)
    with torch.no_grad():
        for alphas in model.alpha_parameters():
            alphas.copy_(torch.randn(alphas.shape))
    found = []
    for side in (model, PlainSearch(model.prompt_learner, clip_model, NAMES)):
        logits = side(images)
        loss = F.cross_entropy(logits, torch.tensor([0, 2]))
        found.append([logits, *torch.autograd.grad(loss, list(model.prompt_learner.parameters()))])
    (ours, *mine), (plain, *theirs) = found
    assert (ours - plain).abs().max() <= 1e-5 * plain.abs().max()
    largest = max(one.abs().max() for one in theirs)
    assert all((one - two).abs().max() <= 1e-5 * largest for one, two in zip(mine, theirs))


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
