import copy
import random

import numpy as np
import pytest
import torch
from dassl.config import get_cfg_default

from modprompt.errors import UserError
from modprompt.io.tensors import read_tensors, write_tensors
from modprompt.methods.parts.lr_schedule import build_lr_scheduler
from modprompt.trainers import training_state
from modprompt.trainers.run_facts import settings_of_run


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
    training_state.save(str(tmp_path), settings_of_run(cfg, None, ""), 2, *parts, -np.inf, {"x": 3})
    train(*parts)
    expected = parts[0]["m"].weight.detach().clone(), parts[1]["m"].param_groups[0]["lr"]

    cfg, *again = make(99)
    random.seed(5)
    np.random.seed(5)
    assert training_state.load(str(tmp_path), settings_of_run(cfg, None, ""), *again) == (2, -np.inf, {"x": 3})
    train(*again)
    assert torch.equal(again[0]["m"].weight, expected[0])
    assert again[1]["m"].param_groups[0]["lr"] == expected[1]


def test_other_settings_are_refused_and_named(tmp_path):
    cfg, *parts = make(1)
    training_state.save(str(tmp_path), settings_of_run(cfg, None, ""), 1, *parts, 0)
    cfg.OPTIM.LR = 0.5
    cfg.OUTPUT_DIR, cfg.DATALOADER.TEST.BATCH_SIZE = "elsewhere", 7  # these decide no number
    with pytest.raises(ValueError, match=r"other settings \(OPTIM.LR 0.0003 -> 0.5\)"):
        training_state.load(str(tmp_path), settings_of_run(cfg, None, ""), *parts)


ADVICE = ". Delete the file to start again, or replace the file with an intact copy."


def saved(folder):
    cfg, *parts = make(1)
    train(*parts)
    settings = settings_of_run(cfg, None, "")
    training_state.save(str(folder), settings, 1, *parts, 50.0, {"x": 3})
    return settings, parts, folder / training_state.FILE_NAME


def refused(folder, settings, parts):
    """The line; nothing has changed."""
    before = copy.deepcopy([{name: one.state_dict() for name, one in part.items()} for part in parts])
    draws = torch.get_rng_state()
    with pytest.raises(UserError) as raised:
        training_state.load(str(folder), settings, *parts)
    assert str(before) == str([{name: one.state_dict() for name, one in part.items()} for part in parts])
    assert torch.equal(draws, torch.get_rng_state())
    line = str(raised.value)
    assert "\n" not in line
    assert line.endswith(ADVICE)
    return line


CONTENTS = {"a list": [1, 2], "nothing": {}}


@pytest.mark.parametrize("what", ["cut off", "a flipped bit", *CONTENTS])
def test_damaged_state_is_refused_and_changes_nothing(tmp_path, what):
    settings, parts, path = saved(tmp_path)
    whole = bytearray(path.read_bytes())
    if what in CONTENTS:
        write_tensors(path, CONTENTS[what])
    elif what == "cut off":
        path.write_bytes(whole[:-9])
    else:
        whole[whole.index(parts[0]["m"].weight.detach().numpy().tobytes())] ^= 1
        path.write_bytes(whole)
    fault = "damaged or belongs to another run" if what in CONTENTS else "not a complete PyTorch checkpoint"
    assert f"{path} is {fault} " in refused(tmp_path, settings, parts)


def test_learned_tensors_must_be_finite(tmp_path):
    settings, parts, path = saved(tmp_path)
    state = read_tensors(path)
    state["models"]["m"]["bias"] = torch.tensor([float("nan")])
    write_tensors(path, state)
    assert "the trained parameters are not finite" in refused(tmp_path, settings, parts)


@pytest.mark.parametrize("what", ["sizes", "names", "groups"])
def test_state_that_does_not_fit_the_run_is_refused(tmp_path, what):
    settings, parts, path = saved(tmp_path)
    if what == "sizes":
        parts[0]["m"] = torch.nn.Linear(4, 1)
    elif what == "names":
        parts[1]["other"] = parts[1]["m"]
    else:
        parts[1]["m"].add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
    with pytest.raises(UserError) as raised:
        training_state.load(str(tmp_path), settings, *parts)
    line = str(raised.value)
    assert line.startswith(f"{path} is damaged or belongs to another run (")
    assert line.endswith(ADVICE)
    assert "\n" not in line


def test_state_is_removed_once(tmp_path):
    cfg, *parts = make(1)
    training_state.save(str(tmp_path), settings_of_run(cfg, None, ""), 1, *parts, 0)
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


def gpus(states):
    return f"{len(states)} GPU{'' if len(states) == 1 else 's'}"


@pytest.mark.parametrize(
    ("then", "own_then", "now", "own_now", "expected"),
    [
        ([1, 2, 3, 4], 0, [9], 0, [1]),
        ([1, 2, 3, 4], 2, [9], 0, [3]),  # the run's own card first
        ([1], 0, [7, 8, 9], 2, [1, 8, 1]),
        ([], 0, [8, 9], 0, [8, 9]),
        ([1, 2], 0, [], 0, []),
    ],
)
def test_cards_get_the_states_that_there_are(then, own_then, now, own_now, expected, tmp_path, monkeypatch, capsys):
    cards = Cards(monkeypatch)
    cfg, *parts = make(1)
    cards.are(*then, own=own_then)
    training_state.save(str(tmp_path), settings_of_run(cfg, None, ""), 1, *parts, 0)
    cards.are(*now, own=own_now)
    assert training_state.load(str(tmp_path), settings_of_run(cfg, None, ""), *parts)[0] == 1
    assert cards.numbers == expected
    line = (
        f"note: the training state contains the states of the random generators of {gpus(then)}, but this machine has "
        f"{gpus(now)}. The generator of a GPU without a stored state starts from the seed."
    )
    assert capsys.readouterr().out.splitlines() == ([line] if len(then) != len(now) else [])
