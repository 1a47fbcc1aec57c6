"""A recorded step does what the step does; on a CPU a tape (tests/tape.py) stands in for the graph."""

import gc
import math
import random
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from modprompt import ExtrasLinearProbeCoOp
from modprompt.engine import weight_cache
from modprompt.engine.model import Output
from modprompt.engine.precision import grad_scaler, resolve
from modprompt.methods.parts.graph import WARM_UP, GraphStep
from modprompt.methods.parts.step import Step
from modprompt.methods.table import METHODS, PROMPTS
from tests.conftest import random_clip
from tests.methods import some_slow
from tests.modprompt.methods.test_model import LEARNING, by_name, on
from tests.tape import Tape

RATES = [0.002, 0.01, 0.01, 0.01, 0.05, 0.05, 0.05, 0.0, 0.02]


def batches(count=9, size=4):
    torch.manual_seed(3)
    return [(torch.randn(size, 3, 32, 32), torch.randint(0, 3, (size,))) for _ in range(count)]


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


@pytest.mark.cover(3)
@pytest.mark.parametrize(
    "cls", [*some_slow(one for one in LEARNING if one.same_step), ExtrasLinearProbeCoOp], ids=by_name
)
def test_every_method_is_replayed_with_the_losses_of_its_steps(cls):
    models = [on(cls, random_clip()).train() for _ in range(2)]
    plain, recorded = (step_of(model, fused=True) for model in models)  # as it is recorded
    tape, told, epoch = Tape(), [], [0]
    graph = GraphStep(recorded, told.append, tape, lambda: epoch[0], models[1])
    for epoch[0] in range(2):
        same(run(graph, recorded.optimiser), run(plain, plain.optimiser), atol=1e-5, rtol=1e-5)
        same_state(recorded.optimiser, plain.optimiser, atol=1e-6, rtol=1e-5)
        for model in models:
            between_epochs(model)
    assert (tape.recorded, tape.replayed) == (1, 2 * len(RATES) - WARM_UP)
    assert (graph.recorded, graph.why, told) == (True, "", [])


def between_epochs(model):
    """What comes between two epochs."""
    model.end_epoch()
    model.set_mode(False)
    with torch.no_grad(), model.unchanging():
        model(batches(1)[0][0])
    model.set_mode(True)


def test_every_method_but_those_that_search_states_that_its_step_is_the_same_at_every_epoch():
    """CLIPLoRA draws masks; HiCroPL's Adam is not recorded, nor PromptKD, whose projector counts batches."""
    others = {"DPLSearch", "TrainerSupernet", "CLIPLoRA", "HiCroPL", "PromptKD"}
    stated = {row.name for row in METHODS if vars(row.method).get("same_step")}
    assert stated == {row.name for row in METHODS if row.kind == PROMPTS} - others


@pytest.mark.slow
def test_what_a_replay_reads_is_held_though_the_model_lets_go_of_it():
    """VPT's class features are made once, and on a GPU the biases of CLIP with their scale."""
    model = on(next(cls for cls in LEARNING if cls.__name__ == "VPT"), random_clip()).train()
    weight_cache.scaled_bias(model.text_encoder.transformer.resblocks[0].mlp.c_fc, 1.702)
    step = step_of(model)
    graph = GraphStep(step, print, Tape(), model=model)
    run(graph, step.optimiser)
    made = [weakref.ref(one) for one in (model._kept.text, *(one.value for one in weight_cache.made_of(model)))]
    model._kept = None
    weight_cache.forget(model)
    gc.collect()
    assert len(made) > 1
    assert all(one() is not None for one in made)
    graph._end_if("over")
    gc.collect()
    assert all(one() is None for one in made)


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
    told, tape = [], Failing()
    graph = GraphStep(recorded, told.append, tape)
    same(run(graph, recorded.optimiser), run(plain, plain.optimiser))
    same_state(recorded.optimiser, plain.optimiser)
    assert told == ["recording failed: CUDA error: operation not permitted when stream is capturing"]
    assert (graph.recorded, graph.why, tape.calls) == (False, told[0], None)


@pytest.mark.parametrize("where", ["scaler.update", "optimiser.step", "in its midst"])
def test_recording_that_breaks_off_inside_the_step_leaves_all_as_it_was(where, monkeypatch):
    """With a scaler, whose notes of a step would forbid the next, and whose scale would stay on the optimiser."""
    plain, recorded = (step_of(linear(), torch.amp.GradScaler("cpu", init_scale=4.0), fused=True) for _ in range(2))
    told, calls = [], []

    def breaking(work):
        def broken(*args, **kwargs):
            calls.append(1)
            if len(calls) == WARM_UP + 1:
                raise RuntimeError("the recording broke off")
            return work(*args, **kwargs)

        return broken

    if where == "scaler.update":
        monkeypatch.setattr(recorded.scaler, "update", breaking(recorded.scaler.update))
    elif where == "optimiser.step":
        monkeypatch.setattr(recorded.optimiser, "step", breaking(recorded.optimiser.step))
    else:  # with momentum that is there by half, as the kernel has it
        monkeypatch.setattr(recorded.optimiser, "_init_group", breaking(recorded.optimiser._init_group))
    graph = GraphStep(recorded, told.append, Tape())
    same(run(graph, recorded.optimiser), run(plain, plain.optimiser), atol=0, rtol=0)
    same_state(recorded.optimiser, plain.optimiser, atol=0, rtol=0)
    assert told == ["recording failed: the recording broke off"]
    assert not {"grad_scale", "found_inf"} & set(vars(recorded.optimiser))


def numpy_noise(x):
    return x + float(np.random.random())


@pytest.mark.parametrize("draws", [nn.Dropout(0.5), numpy_noise, lambda x: x * random.random()])
def test_step_that_draws_is_run_with_the_draws_that_it_has_without_recording(draws):
    losses, told = [], []
    for recorder in (Tape(), None):
        step = step_of(linear(draws), fused=True)
        call = step if recorder is None else GraphStep(step, told.append, recorder)
        given = batches()
        torch.manual_seed(5)
        np.random.seed(5)
        random.seed(5)
        losses.append([call(*batch) for batch in given])
    same(*losses)
    assert told == ["the step draws random numbers on the CPU"]


def test_what_the_first_step_draws_alone_is_no_matter():
    """As a teacher that is made at the first loss may."""
    drawn = []

    def once(x):
        drawn.append(torch.rand(1)) if not drawn else None
        return x

    step = step_of(linear(once))
    graph = GraphStep(step, print, Tape())
    run(graph, step.optimiser)
    assert graph.recorded


def test_batch_of_another_shape_ends_the_replays_and_the_run_goes_on():
    plain, recorded = (step_of(linear()) for _ in range(2))
    tape, told = Tape(), []
    graph = GraphStep(recorded, told.append, tape)
    given = [*batches(6), *batches(1, size=3), *batches(2)]
    same([graph(*batch) for batch in given], [plain(*batch) for batch in given])
    same_state(recorded.optimiser, plain.optimiser)
    assert (tape.replayed, tape.calls) == (3, None)
    assert told == [graph.why] == ["from epoch 1 on: a batch has another shape"]


def test_tensors_on_several_devices_are_not_recorded():
    model = linear()
    model.register_buffer("elsewhere", torch.ones(1, device="meta"))
    step, told = step_of(model), []
    graph = GraphStep(step, told.append, Tape(), model=model)
    run(graph, step.optimiser)
    assert told == [graph.why] == ["from epoch 1 on: tensors of the step are on several devices"]


def test_other_optimisers_are_not_recorded():
    tape, told = Tape(), []
    step = step_of(linear(), kind=torch.optim.Adam)
    plain = step_of(linear(), kind=torch.optim.Adam)
    graph = GraphStep(step, told.append, tape)
    same(run(graph, step.optimiser), run(plain, plain.optimiser))
    assert told == ["only SGD is recorded, not Adam"]
    assert tape.recorded == 0


def test_dampening_with_a_loss_scaler_is_not_recorded():
    told, step = [], step_of(linear())
    step.optimiser.param_groups[0]["dampening"] = 0.5
    step.scaler = object()
    GraphStep(step, told.append, Tape())
    assert told == ["OPTIM.SGD_DAMPNING with a loss scaler is not recorded"]


def test_on_a_cpu_the_step_is_run_as_it_is():
    told = []
    step, plain = step_of(linear()), step_of(linear())
    graph = GraphStep(step, told.append)
    same(run(graph, step.optimiser), run(plain, plain.optimiser), atol=0, rtol=0)
    assert told == [graph.why] == ["this run has no CUDA device"]


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
@pytest.mark.parametrize("cls", some_slow(one for one in LEARNING if one.same_step), ids=by_name)
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
