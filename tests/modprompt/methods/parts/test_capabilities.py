"""Parameters with a rate or a weight decay of their own."""

from types import SimpleNamespace

import pytest
import torch

from modprompt.errors import UserError
from modprompt.methods.parts.capabilities import OwnRate, grouped
from modprompt.methods.parts.lr_schedule import build_lr_scheduler

LEARNED = {name: torch.nn.Parameter(torch.ones(1)) for name in ("ctx", "adapters.up", "adapters.down", "scale")}
OWN = (OwnRate(("adapters.",), factor=0.5), OwnRate(("scale", "adapters.up"), weight_decay=0.0))


def places(groups):
    names = {id(one): name for name, one in LEARNED.items()}
    return [[names[id(one)] for one in group["params"]] for group in groups]


def test_each_parameter_is_in_the_first_group_that_names_it_and_the_rest_lead():
    groups = grouped(LEARNED, OWN, 0.1)
    assert places(groups) == [["ctx"], ["adapters.up", "adapters.down"], ["scale"]]
    assert groups[1]["lr"] == 0.05
    assert "weight_decay" not in groups[1]
    assert (groups[2]["lr"], groups[2]["weight_decay"]) == (0.1, 0.0)
    assert places(grouped(LEARNED, (), 0.1)) == [[*LEARNED]]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (
            OwnRate(("other", "more")),
            "A separate learning rate is set for parameters whose names begin with other or more, but no trained "
            "parameter has such a name.",
        ),
        (
            OwnRate(("",)),
            "The separate learning rate applies to all trained parameters, so OPTIM.LR is never used. Set OPTIM.LR to "
            "the separate learning rate, and remove the separate learning rate.",
        ),
    ],
)
def test_groups_without_parameters_are_refused(own, message):
    with pytest.raises(UserError) as found:
        grouped(LEARNED, (own,), 0.1)
    assert str(found.value) == message


@pytest.mark.parametrize("kind", ["constant", "linear"])
@pytest.mark.parametrize("schedule", ["cosine", "single_step"])
def test_a_factor_holds_in_every_epoch(kind, schedule):
    settings = SimpleNamespace(LR=0.1, LR_SCHEDULER=schedule, STEPSIZE=(2,), GAMMA=0.1, MAX_EPOCH=6)
    settings.__dict__.update(WARMUP_EPOCH=2, WARMUP_RECOUNT=True, WARMUP_TYPE=kind, WARMUP_CONS_LR=1e-3)
    settings.__dict__.update(WARMUP_MIN_LR=1e-4)
    optimiser = torch.optim.SGD(grouped(LEARNED, OWN, settings.LR), lr=settings.LR)
    scheduler, rates = build_lr_scheduler(optimiser, settings), []
    for _ in range(6):
        rates.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        scheduler.step()
    assert len({rate for rate, *_ in rates}) > 2
    for rest, adapters, scale in rates:
        assert adapters == pytest.approx(0.5 * rest)
        assert scale == rest
