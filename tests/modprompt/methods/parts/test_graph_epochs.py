"""What a replay would not see ends the replays, in front of the next epoch; the numbers are those of the step."""

import copy

import pytest
import torch
import torch.nn.functional as F

from modprompt.methods.parts.graph import WARM_UP, GraphStep
from tests.modprompt.methods.parts.test_graph import batches, linear, same, same_state, step_of
from tests.tape import Tape

STEPS = 5  # of an epoch


class Changing:
    """A step; `before` is called with this before each epoch."""

    def __init__(self, before, scaled=False):
        self.before, self.epoch = before, 0
        self.model = linear()
        self.model.register_buffer("table", torch.tensor([1.0, 2.0, 1.0]))
        self.model.loss = lambda output, images, labels: F.cross_entropy(output.logits, labels, weight=self.model.table)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0) if scaled else None
        self.step = step_of(self.model, scaler, fused=True)
        self.group = self.step.optimiser.param_groups[0]

    def run(self, call, epochs=4, steps=STEPS):
        done = []
        for self.epoch in range(epochs):
            self.before(self)
            done += [call(*batch) for batch in batches(steps)]
        return done


def nothing(now):
    pass


def loads_a_state(now):
    now.step.optimiser.load_state_dict(copy.deepcopy(now.step.optimiser.state_dict()))


def moves_a_parameter(now):
    weight = now.model.prompt_learner.weight
    weight.data = weight.data.clone()


def lets_go_of_gradients(now):
    now.step.optimiser.zero_grad()


def replaces_a_buffer(now):
    now.model.table = now.model.table * 2


CASES = {
    "the optimiser is set otherwise": lambda now: now.group.update(weight_decay=0.5),
    "other parameters are learned": lambda now: now.model.prompt_learner.bias.requires_grad_(False),
    "parameters lie elsewhere": moves_a_parameter,
    "buffers lie elsewhere": replaces_a_buffer,
    "momentum lies elsewhere": loads_a_state,
    "gradients lie elsewhere": lets_go_of_gradients,
    "the model is in another mode": lambda now: now.model.eval(),
    "the loss scaler is set otherwise": lambda now: now.step.scaler.set_growth_factor(3.0),
}


def trial(before, scaled=False, **length):
    """A run with a recorder and one without: their losses and states are the same."""
    recorded, plain = Changing(before, scaled), Changing(before, scaled)
    tape, told = Tape(), []
    graph = GraphStep(recorded.step, told.append, tape, lambda: recorded.epoch, recorded.model)
    same(recorded.run(graph, **length), plain.run(plain.step, **length))
    same_state(recorded.step.optimiser, plain.step.optimiser)
    return graph, tape, told


@pytest.mark.parametrize(("what", "change"), CASES.items(), ids=CASES)
def test_what_a_replay_relies_on_ends_it_when_it_changes(what, change):
    scaled = "scaler" in what
    graph, tape, told = trial(lambda now: change(now) if now.epoch == 2 else None, scaled)
    assert told == [graph.why] == [f"from epoch 3 on: {what}"]
    assert (graph.recorded, tape.recorded, tape.replayed, tape.calls) == (False, 1, 2 * STEPS - WARM_UP, None)


@pytest.mark.parametrize("scaled", [False, True])
def test_whole_run_is_replayed_where_nothing_changes(scaled):
    graph, tape, told = trial(nothing, scaled)
    assert (graph.recorded, graph.why, told) == (True, "", [])
    assert (tape.recorded, tape.replayed) == (1, 4 * STEPS - WARM_UP)


def test_rates_and_what_is_written_in_place_may_change():
    def change(now):
        now.group["lr"] = 0.01 / (1 + now.epoch)
        now.model.table.fill_(1.0 + now.epoch)

    graph, tape, _ = trial(change)
    assert (graph.recorded, tape.recorded) == (True, 1)


def test_what_changes_before_the_recording_is_no_matter():
    graph, tape, _ = trial(lambda now: CASES["the optimiser is set otherwise"](now), steps=2)
    assert (graph.recorded, tape.recorded) == (True, 1)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_short_epochs(steps):
    graph, tape, told = trial(nothing, epochs=4 + (steps == 1), steps=steps)
    assert (graph.recorded, tape.replayed, told) == (True, (4 + (steps == 1)) * steps - WARM_UP, [])


def test_facts_are_compared_once_an_epoch(monkeypatch):
    asked, relied_on = [], GraphStep._relied_on
    monkeypatch.setattr(GraphStep, "_relied_on", lambda graph: asked.append(1) or relied_on(graph))
    _, tape, _ = trial(nothing)
    assert len(asked) == 1 + 3  # when it is recorded, and in front of each later epoch
    assert tape.replayed == 4 * STEPS - WARM_UP
