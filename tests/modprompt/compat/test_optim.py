import math

import pytest
import torch
from dassl.config import get_cfg_default
from dassl.optim import build_lr_scheduler, build_optimizer


def rates(epochs, **settings):
    optim_cfg = get_cfg_default().OPTIM
    for key, value in {"NAME": "sgd", "LR": 0.0035, "MAX_EPOCH": epochs, **settings}.items():
        optim_cfg[key] = value
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = build_optimizer([parameter], optim_cfg)
    schedule = build_lr_scheduler(optimiser, optim_cfg)
    found = []
    for _ in range(epochs):
        found.append(optimiser.param_groups[0]["lr"])
        parameter.grad = torch.zeros(1)
        optimiser.step()
        schedule.step()
    return found


def test_cosine_starts_anew_after_a_constant_warmup():
    expected = [1e-5] + [0.0035 * (1 + math.cos(math.pi * k / 5)) / 2 for k in range(4)]
    found = rates(5, LR_SCHEDULER="cosine", WARMUP_EPOCH=1, WARMUP_TYPE="constant", WARMUP_CONS_LR=1e-5)
    assert found == pytest.approx(expected, rel=1e-9)


def test_linear_warmup_climbs_from_its_least_rate():
    found = rates(5, LR=1.0, LR_SCHEDULER="single_step", WARMUP_EPOCH=3, WARMUP_TYPE="linear", WARMUP_MIN_LR=0.01)
    assert found == pytest.approx([0.01, 1 / 3, 2 / 3, 1.0, 1.0])


def test_cosine_without_warmup():
    expected = [(1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    assert rates(4, LR=1.0, LR_SCHEDULER="cosine") == pytest.approx(expected)


def test_multi_step():
    assert rates(4, LR=1.0, LR_SCHEDULER="multi_step", STEPSIZE=(2, 3)) == pytest.approx([1, 1, 0.1, 0.01])


@pytest.mark.parametrize("kind", ["adam", "amsgrad", "adamw", "radam", "rmsprop", "sgd"])
def test_every_optimiser_moves_a_parameter(kind):
    optim_cfg = get_cfg_default().OPTIM
    optim_cfg.NAME = kind
    layer = torch.nn.Linear(2, 1)
    before = layer.weight.detach().clone()
    optimiser = build_optimizer(layer, optim_cfg)
    for _ in range(8):  # radam begins gently
        optimiser.zero_grad()
        layer(torch.ones(1, 2)).sum().backward()
        optimiser.step()
    assert not torch.equal(before, layer.weight)


def test_decay_of_radam_stands_apart_from_the_gradient():
    optim_cfg, parameter = get_cfg_default().OPTIM, torch.nn.Parameter(torch.ones(2))
    optim_cfg.NAME, optim_cfg.LR, optim_cfg.WEIGHT_DECAY = "radam", 0.5, 0.1
    optimiser = build_optimizer([parameter], optim_cfg)
    for _ in range(7):  # the first five without a second moment
        parameter.grad = torch.zeros(2)
        optimiser.step()
    assert torch.allclose(parameter, torch.full((2,), 0.95**7))


def test_staged_rates_give_new_layers_the_full_rate():
    optim_cfg = get_cfg_default().OPTIM
    optim_cfg.STAGED_LR, optim_cfg.NEW_LAYERS, optim_cfg.LR = True, ["head"], 1.0
    model = torch.nn.ModuleDict({"body": torch.nn.Linear(1, 1), "head": torch.nn.Linear(1, 1)})
    groups = build_optimizer(model, optim_cfg).param_groups
    assert [group["lr"] for group in groups] == [0.1, 1.0]


@pytest.mark.parametrize("key", ["NAME", "LR_SCHEDULER"])
def test_unknown_name_is_refused(key):
    with pytest.raises(ValueError, match="nonsense"):
        rates(1, **{key: "nonsense"})
