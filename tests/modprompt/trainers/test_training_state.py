import random

import numpy as np
import pytest
import torch
from dassl.config import get_cfg_default

from modprompt.io.tensors import read_tensors, write_tensors
from modprompt.methods.parts.lr_schedule import build_lr_scheduler
from modprompt.trainers import training_state


def make(seed):
    cfg = get_cfg_default()
    cfg.OPTIM.LR_SCHEDULER, cfg.OPTIM.WARMUP_EPOCH = "cosine", 1
    torch.manual_seed(seed)
    model = torch.nn.Linear(3, 1)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return cfg, {"m": model}, {"m": optimiser}, {"m": build_lr_scheduler(optimiser, cfg.OPTIM)}


def train(models, optims, scheds):
    noise = torch.rand(1) + float(np.random.rand()) + random.random()
    optims["m"].zero_grad()
    (models["m"](torch.rand(4, 3)) * noise).sum().backward()
    optims["m"].step()
    scheds["m"].step()


def test_run_goes_on_exactly_where_it_was(tmp_path):
    cfg, *parts = make(1)
    for _ in range(2):
        train(*parts)
    training_state.save(str(tmp_path), training_state.settings_of(cfg), 2, *parts, -np.inf, {"x": 3})
    train(*parts)
    expected = parts[0]["m"].weight.detach().clone(), parts[1]["m"].param_groups[0]["lr"]

    cfg, *again = make(99)
    random.seed(5)
    np.random.seed(5)
    assert training_state.load(str(tmp_path), training_state.settings_of(cfg), *again) == (2, -np.inf, {"x": 3})
    train(*again)
    assert torch.equal(again[0]["m"].weight, expected[0])
    assert again[1]["m"].param_groups[0]["lr"] == expected[1]


def test_other_settings_are_refused_and_named(tmp_path):
    cfg, *parts = make(1)
    training_state.save(str(tmp_path), training_state.settings_of(cfg), 1, *parts, 0)
    cfg.OPTIM.LR = 0.5
    cfg.OUTPUT_DIR, cfg.DATALOADER.TEST.BATCH_SIZE = "elsewhere", 7  # these decide no number
    with pytest.raises(ValueError, match=r"other settings \(OPTIM.LR 0.0003 -> 0.5\)"):
        training_state.load(str(tmp_path), training_state.settings_of(cfg), *parts)


@pytest.mark.parametrize("best", [torch.ones(2), np.inf, np.nan, "1"])
def test_best_result_that_is_none_is_named(best, tmp_path):
    cfg, *parts = make(1)
    training_state.save(str(tmp_path), training_state.settings_of(cfg), 1, *parts, 0)
    path = tmp_path / training_state.FILE_NAME
    write_tensors(path, {**read_tensors(path), "best_result": best})
    with pytest.raises(ValueError, match="training_state.pth.tar is damaged .*best_result.*: delete it to start anew"):
        training_state.load(str(tmp_path), training_state.settings_of(cfg), *parts)


def test_state_is_removed_once(tmp_path):
    cfg, *parts = make(1)
    training_state.save(str(tmp_path), training_state.settings_of(cfg), 1, *parts, 0)
    training_state.remove(str(tmp_path))
    training_state.remove(str(tmp_path))
    assert not training_state.exists(str(tmp_path))


class Cards:
    """A machine's cards: how many, which of them a run is on, and the state of each one's generator."""

    def __init__(self, monkeypatch):
        self.states, self.own = [], 0
        found = {
            "is_available": lambda: bool(self.states),
            "device_count": lambda: len(self.states),
            "current_device": lambda: self.own,
            "get_rng_state_all": lambda: [state.clone() for state in self.states],
            "set_rng_state": self.put,
        }
        for name, answer in found.items():
            monkeypatch.setattr(torch.cuda, name, answer)

    def put(self, state, device):
        self.states[device] = state

    def are(self, *numbers, own=0):
        self.states, self.own = [torch.tensor([number], dtype=torch.uint8) for number in numbers], own

    @property
    def numbers(self):
        return [int(state) for state in self.states]


@pytest.mark.parametrize(
    ("then", "own_then", "now", "own_now", "expected"),
    [
        ([1, 2, 3, 4], 0, [9], 0, [1]),
        ([1, 2, 3, 4], 2, [9], 0, [3]),  # the run's own card first
        ([1, 2, 3, 4], 0, [8, 9], 1, [1, 1]),
        ([1], 0, [7, 8, 9], 0, [1, 8, 9]),
        ([1], 0, [7, 8, 9], 2, [1, 8, 1]),
        ([1, 2], 1, [8, 9], 1, [1, 2]),
        ([], 0, [8, 9], 0, [8, 9]),
        ([1, 2], 0, [], 0, []),
    ],
)
def test_cards_get_the_states_that_there_are(then, own_then, now, own_now, expected, tmp_path, monkeypatch, capsys):
    cards = Cards(monkeypatch)
    cfg, *parts = make(1)
    cards.are(*then, own=own_then)
    training_state.save(str(tmp_path), training_state.settings_of(cfg), 1, *parts, 0)
    cards.are(*now, own=own_now)
    assert training_state.load(str(tmp_path), training_state.settings_of(cfg), *parts)[0] == 1
    assert cards.numbers == expected
    line = f"The training state has the generators of {len(then)} GPUs, {len(now)} are here: the others begin anew"
    assert capsys.readouterr().out.splitlines() == ([line] if len(then) != len(now) else [])


def test_state_of_a_version_that_did_not_say_its_card(tmp_path, monkeypatch, capsys):
    cards = Cards(monkeypatch)
    cards.are(1, 2)
    old = training_state.random_states()
    del old["cuda_own"]
    cards.are(9)
    training_state.restore_random(old)
    assert cards.numbers == [1]
