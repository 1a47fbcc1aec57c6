"""A recorded step does what the step does; on a CPU a tape (tests/tape.py) stands in for the graph."""

import copy
import math

import pytest
import torch
from torch import nn

from modprompt.engine.model import Output
from modprompt.engine.precision import grad_scaler, resolve
from modprompt.training.graph import WARM_UP, GraphStep
from modprompt.training.recorder import CudaRecorder
from modprompt.training.step import Step
from tests.conftest import random_clip
from tests.methods import some_slow
from tests.modprompt.methods.test_model import LEARNING, by_name, on
from tests.tape import Tape

ODD = 6  # the batch that is smaller
RATES = [0.002, 0.01, 0.01, 0.01, 0.05, 0.05, 0.05, 0.0, 0.02]


def batches(count=9, size=4):
    torch.manual_seed(3)
    sizes = [size - 1 if number == ODD else size for number in range(count)]
    return [(torch.randn(n, 3, 32, 32), torch.randint(0, 3, (n,))) for n in sizes]


def step_of(model, scaler=None, kind=torch.optim.SGD, **settings):
    """The step of a model as the trainer has it."""

    def loss_of(images, labels):
        output = model.output(images)
        return output, model.objective.loss(output, images, labels)

    settings = {"momentum": 0.9, "weight_decay": 5e-4, **settings} if kind is torch.optim.SGD else settings
    return Step(loss_of, kind(model.prompt_learner.parameters(), lr=0.01, **settings), scaler)


class Linear(nn.Module):
    """The smallest model that a step goes through; `spoil` is called on what it computes."""

    def __init__(self, spoil=lambda x: x):
        super().__init__()
        self.prompt_learner = nn.Linear(3 * 32 * 32, 3)
        self.spoil = spoil
        nn.init.normal_(self.prompt_learner.weight)

    def output(self, images):
        x = self.spoil(self.prompt_learner(images.flatten(1) / 30))
        return Output(x, x, x)

    @property
    def objective(self):
        return self

    @staticmethod
    def loss(output, images, labels):
        return nn.functional.cross_entropy(output.logits, labels)


def linear(*args):
    torch.manual_seed(2)
    return Linear(*args)


def run(step, optimiser, rates=RATES):
    """Losses and logits of a run whose rate changes."""
    done = []
    for (images, labels), rate in zip(batches(len(rates)), rates):
        for group in optimiser.param_groups:
            group["lr"] = rate
        done.append(step(images, labels))
    return done


def same(one, two, **tolerance):
    for mine, plain in zip(one, two):
        torch.testing.assert_close(mine.loss, plain.loss, **tolerance)
        torch.testing.assert_close(mine.logits, plain.logits, **tolerance)


def same_state(one, two, **tolerance):
    """Parameters and momentum, in their order."""
    for mine, plain in zip(one.param_groups[0]["params"], two.param_groups[0]["params"]):
        torch.testing.assert_close(mine, plain, **tolerance)
        assert set(one.state[mine]) == set(two.state[plain])
        for key, value in two.state[plain].items():
            torch.testing.assert_close(one.state[mine][key], value, **tolerance)


@pytest.mark.parametrize("cls", some_slow(LEARNING), ids=by_name)
def test_every_method_is_replayed_with_the_losses_of_its_steps(cls):
    plain, recorded = (step_of(on(cls, random_clip()).train()) for _ in range(2))
    tape, told = Tape(), []
    graph = GraphStep(recorded, told.append, tape)
    same(run(graph, recorded.optimiser), run(plain, plain.optimiser), atol=1e-5, rtol=1e-5)
    same_state(recorded.optimiser, plain.optimiser, atol=1e-6, rtol=1e-5)
    assert (tape.recorded, tape.replayed) == (1, len(RATES) - WARM_UP - 1)  # all but the odd one
    assert (graph.recorded, graph.why, told) == (True, "", [])


@pytest.mark.parametrize(
    "settings",
    [{"momentum": 0}, {"dampening": 0.5}, {"nesterov": True}, {"fused": True}],
    ids=lambda one: next(iter(one)),
)
def test_settings_of_sgd_mean_what_they_mean(settings):
    plain, recorded = (step_of(linear(), **settings) for _ in range(2))
    tape = Tape()
    same(run(GraphStep(recorded, print, tape), recorded.optimiser), run(plain, plain.optimiser))
    same_state(recorded.optimiser, plain.optimiser)
    assert tape.replayed


def test_rate_is_that_of_the_moment():
    step = step_of(linear(), momentum=0)
    graph = GraphStep(step, print, Tape())
    run(graph, step.optimiser)
    weight = step.optimiser.param_groups[0]["params"][0]
    for rate in (0.0, 0.1, 0.0, math.pi):
        before = weight.detach().clone()
        step.optimiser.param_groups[0]["lr"] = rate
        graph(*batches(1)[0])
        assert torch.equal(weight, before) == (rate == 0)


def test_schedules_and_states_see_numbers_and_the_optimiser_as_it_was_made():
    step = step_of(linear())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(step.optimiser, 10)
    graph, plain = GraphStep(step, print, Tape()), step_of(linear())
    expected = torch.optim.lr_scheduler.CosineAnnealingLR(plain.optimiser, 10)
    for batch in batches():
        for one, other in ((graph, schedule), (plain, expected)):
            one(*batch)
            other.step()
        mine, its = step.optimiser.state_dict(), plain.optimiser.state_dict()
        assert mine["param_groups"] == its["param_groups"]
        assert type(mine["param_groups"][0]["lr"]) is float
        assert schedule.state_dict() == expected.state_dict()
    assert not hasattr(step.optimiser, "_step_supports_amp_scaling") or not step.optimiser._step_supports_amp_scaling
    assert graph.recorded


def test_recording_changes_nothing(monkeypatch):
    """Around the recording alone: parameters, momentum, gradients of the host's view, generators."""
    step, tape = step_of(linear()), Tape()
    graph, seen = GraphStep(step, print, tape), []

    def everything():
        optimiser = step.optimiser
        parameters = optimiser.param_groups[0]["params"]
        return [*parameters, *(optimiser.state[one]["momentum_buffer"] for one in parameters), torch.get_rng_state()]

    record = tape.record

    def recorded(work):
        seen.append([x.detach().clone() for x in everything()])
        result = record(work)
        seen.append([x.detach().clone() for x in everything()])
        return result

    monkeypatch.setattr(tape, "record", recorded)
    run(graph, step.optimiser)
    before, after = seen
    assert all(map(torch.equal, before, after))


def test_no_momentum_is_there_before_the_first_step_and_a_single_one_after_it():
    step = step_of(linear())
    graph = GraphStep(step, print, Tape())
    assert not step.optimiser.state
    first = graph(*batches(1)[0])
    other = step_of(linear())
    same([first], [other(*batches(1)[0])])
    same_state(step.optimiser, other.optimiser)


def test_results_are_not_written_over_by_later_steps():
    step = step_of(linear())
    graph = GraphStep(step, print, Tape())
    run(graph, step.optimiser)
    first, second = (graph(*batch) for batch in batches(2))
    assert not torch.equal(first.loss, second.loss)
    assert not torch.equal(first.logits, second.logits)


def test_another_state_is_recorded_anew():
    plain, recorded = (step_of(linear()) for _ in range(2))
    tape = Tape()
    graph = GraphStep(recorded, print, tape)
    run(graph, recorded.optimiser)
    run(plain, plain.optimiser)
    saved = copy.deepcopy(plain.optimiser.state_dict())
    for kept in saved["state"].values():
        kept["momentum_buffer"].mul_(-2)
    for step in (plain, recorded):
        step.optimiser.load_state_dict(copy.deepcopy(saved))
    same(run(graph, recorded.optimiser), run(plain, plain.optimiser))
    same_state(recorded.optimiser, plain.optimiser)
    assert tape.recorded == 2


def test_loss_scaling_is_recorded_with_its_skipped_steps():
    """The third batch from the end overflows: the step is skipped on the device and the scale halved."""
    models, losses, scales = [linear(), linear()], [], []
    for number, model in enumerate(models):
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=3)
        step = step_of(model, scaler, fused=True)
        tape = Tape()
        call = step if number else GraphStep(step, print, tape)
        done = []
        for position, (images, labels) in enumerate(batches()):
            done.append(call(images * math.inf if position == len(RATES) - 3 else images, labels))
            scales.append(scaler.get_scale())
        losses.append(done)
        assert number or tape.replayed
    mine, plain = scales[: len(RATES)], scales[len(RATES) :]
    assert mine == plain
    assert min(mine[-3:]) < max(mine)
    same(*losses, equal_nan=True)
    assert all(map(torch.equal, models[0].parameters(), models[1].parameters()))
    assert torch.isfinite(models[0].prompt_learner.weight).all()


class Failing(Tape):
    """Ends in the way that CUDA does, behind a part of the step."""

    def record(self, step):
        super().record(step)
        try:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nand more")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")


@pytest.mark.parametrize("scaled", [False, True])
def test_recording_that_fails_is_told_once_and_leaves_all_as_it_was(scaled):
    def one():
        return step_of(linear(), torch.amp.GradScaler("cpu", init_scale=4.0) if scaled else None, fused=scaled or None)

    plain, recorded = one(), one()
    told = []
    graph = GraphStep(recorded, told.append, Failing())
    same(run(graph, recorded.optimiser), run(plain, plain.optimiser))
    same_state(recorded.optimiser, plain.optimiser)
    assert told == ["recording failed: CUDA error: operation not permitted when stream is capturing"]
    assert (graph.recorded, graph.why) == (False, told[0])


def test_recording_that_breaks_off_inside_the_step_leaves_all_as_it_was(monkeypatch):
    """With a scaler, whose notes of a step would forbid the next."""
    plain, recorded = (step_of(linear(), torch.amp.GradScaler("cpu", init_scale=4.0), fused=True) for _ in range(2))
    tape, told = Tape(), []
    update, calls = recorded.scaler.update, []

    def breaking():
        calls.append(1)
        if len(calls) == WARM_UP + 1:
            raise RuntimeError("the recording broke off")
        update()

    monkeypatch.setattr(recorded.scaler, "update", breaking)

    def undone(step):
        parameters = list(recorded.optimiser.param_groups[0]["params"])
        tensors = [*parameters, *(recorded.optimiser.state[one]["momentum_buffer"] for one in parameters)]
        before = [x.detach().clone() for x in tensors]
        try:
            return step(), None
        finally:  # on a card nothing has been computed
            with torch.no_grad():
                for now, then in zip(tensors, before):
                    now.copy_(then)

    monkeypatch.setattr(tape, "record", undone)
    graph = GraphStep(recorded, told.append, tape)
    same(run(graph, recorded.optimiser), run(plain, plain.optimiser))
    same_state(recorded.optimiser, plain.optimiser)
    assert told == ["recording failed: the recording broke off"]


def counting():
    count = iter(range(1, 100))
    return lambda x: x * next(count)


def reading(x):
    return x * 2 if x.sum().item() > -1e9 else x


OBSTACLES = {
    "reads": (reading, "the step waits for the device (aten._local_scalar_dense.default)"),
    "selects": (lambda x: x + x[x > 0].sum(), "the step waits for the device (aten.index.Tensor)"),
    "draws": (nn.Dropout(0.5), "the step draws random numbers on the CPU (aten.bernoulli_.float)"),
    "changes": (counting(), "it does not do the same at every step"),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_step_that_cannot_be_recorded_is_run_as_it_is_and_that_is_told_once(name):
    spoil, reason = OBSTACLES[name]
    tape, told = Tape(), []
    step = step_of(linear(spoil))
    graph = GraphStep(step, told.append, tape)
    done = run(graph, step.optimiser)
    assert told == [reason]
    assert (graph.recorded, graph.why, tape.replayed) == (False, reason, 0)
    assert all(torch.isfinite(one.loss) for one in done)


def test_step_that_draws_is_run_with_the_draws_that_it_has_without_recording():
    losses = []
    for recorder in (Tape(), None):
        step = step_of(linear(nn.Dropout(0.5)))
        call = step if recorder is None else GraphStep(step, lambda why: None, recorder)
        given = batches()
        torch.manual_seed(5)
        losses.append([call(*batch) for batch in given])
    same(*losses)


def test_other_optimisers_are_not_recorded():
    tape, told = Tape(), []
    step = step_of(linear(), kind=torch.optim.Adam)
    plain = step_of(linear(), kind=torch.optim.Adam)
    graph = GraphStep(step, told.append, tape)
    same(run(graph, step.optimiser), run(plain, plain.optimiser))
    assert told == ["of optimisers SGD alone is recorded, not Adam"]
    assert tape.recorded == 0


def test_on_a_cpu_the_step_is_run_as_it_is():
    told = []
    step, plain = step_of(linear()), step_of(linear())
    graph = GraphStep(step, told.append)
    same(run(graph, step.optimiser), run(plain, plain.optimiser), atol=0, rtol=0)
    assert told == [graph.why] == ["this run has no CUDA device"]


def test_an_old_pytorch_is_named(monkeypatch):
    monkeypatch.delattr(torch, "_fused_sgd_")
    assert CudaRecorder().obstacle(torch.device("cuda")).startswith(f"PyTorch {torch.__version__} has no SGD")


def test_run_that_ends_before_the_recording_says_so():
    step = step_of(linear())
    graph = GraphStep(step, print, Tape())
    run(graph, step.optimiser, RATES[:WARM_UP])
    assert (graph.recorded, graph.why) == (False, "the run was over within 3 steps, before anything is recorded")


def losses_on_a_card(cls, prec, recorded):
    model = on(cls, random_clip()).to("cuda")
    model.cast(prec)
    step = step_of(model.train(), grad_scaler() if resolve(prec, torch.device("cuda")).scale_loss else None)
    told, losses = [], []
    call = GraphStep(step, told.append) if recorded else step
    for (images, labels), rate in zip(batches(), RATES):
        step.optimiser.param_groups[0]["lr"] = rate
        losses.append(call(images.cuda(), labels.cuda()))
    assert told == []
    assert not recorded or call.recorded
    return torch.stack([done.loss for done in losses]).cpu()


ON_A_CARD = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@ON_A_CARD
@pytest.mark.parametrize("cls", some_slow(LEARNING), ids=by_name)
def test_on_a_card_every_loss_is_that_of_the_step(cls):
    eager, graph = (losses_on_a_card(cls, "fp32", recorded) for recorded in (False, True))
    torch.testing.assert_close(graph, eager, atol=1e-5, rtol=1e-5)


@ON_A_CARD
@pytest.mark.parametrize("prec", ["fp16", "amp", "bf16"])
def test_on_a_card_half_precision_is_recorded_too(prec):
    """Its rounding grows from step to step: the first losses are held against the step's."""
    eager, graph = (losses_on_a_card(LEARNING[0], prec, recorded) for recorded in (False, True))
    torch.testing.assert_close(graph[:2], eager[:2], atol=1e-2, rtol=1e-2)
    assert torch.isfinite(graph).all()
